"""Attention that learning can go back through, called as the host calls its own.

The host's own choice may have no backward pass (sage, flash), or none under memory pressure.
Shapes: queries, keys and values [B, L, heads d], or apart [B, heads, L, d] with the host's skip_reshape.
"""

from collections.abc import Callable

import torch
from comfy.ldm.modules.attention import attention_basic, attention_pytorch
from torch import Tensor

FEW_TOKENS = 64 * 64 * 5 // 4  # those of a picture of 512 x 512 pixels, or one as large of another shape
AT_ONCE = 2**27  # bytes of probabilities that are computed at once, if they are of more than one row


def attention_for(device: torch.device, dtype: torch.dtype, tokens: float) -> Callable[..., Tensor]:
    """The fastest attention there. tokens: the most that look.

    On a CPU torch's own is slow in 16 bit, and its backward pass most of all. Plain products are fast, but keep
    probabilities for it that grow with the square of the tokens.
    """
    if device.type != "cpu" or dtype == torch.float32:
        return attention_pytorch
    return attention_by_rows if tokens <= FEW_TOKENS else attention_in_fp32


def attention_by_rows(
    query: Tensor, key: Tensor, value: Tensor, heads: int, mask: Tensor | None = None, **options: object
) -> Tensor:
    """The host's plain products, of few rows at once where these are large: for a moment they take several times the
    memory of what they keep. With a mask, which here text alone has, of all at once."""
    if mask is not None:
        plain = attention_in_fp32 if mask.dtype == torch.bool else attention_basic  # which takes another kind of those
        return plain(query, key, value, heads, mask=mask, **options)
    each = heads * query.shape[-2] * key.shape[-2] * query.element_size()
    count = max(1, AT_ONCE // each)
    rows = zip(query.split(count), key.split(count), value.split(count), strict=True)
    return torch.cat([attention_basic(*some, heads, **options) for some in rows])


def attention_in_fp32(
    query: Tensor, key: Tensor, value: Tensor, heads: int, mask: Tensor | None = None, **options: object
) -> Tensor:
    """torch's own, of any precision."""
    mask = mask if mask is None or mask.dtype == torch.bool else mask.float()
    mixed = attention_pytorch(query.float(), key.float(), value.float(), heads, mask=mask, **options)
    return mixed.to(query.dtype)
