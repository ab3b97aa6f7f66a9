"""Attention that learning can go back through, called as the host calls its own.

The host's own choice may have no backward pass (sage, flash), or none under memory pressure.
Shapes: queries, keys and values [B, L, heads d], or apart [B, heads, L, d] with the host's skip_reshape.
"""

from collections.abc import Callable

import torch
from comfy.ldm.modules.attention import attention_basic, attention_pytorch
from einops import rearrange
from torch import Tensor

FEW_TOKENS = 64 * 64 * 5 // 4  # those of a picture of 512 x 512 pixels, or one as large of another shape
CHUNK_BYTES = 2**22  # bytes of probabilities that are computed at once, if they are of more than one head


def attention_for(device: torch.device, dtype: torch.dtype, tokens: float) -> Callable[..., Tensor]:
    """The fastest attention there. tokens: the most that look.

    On a CPU torch's own is slow in 16 bit, and its backward pass most of all. Plain products are fast, but keep
    probabilities for it that grow with the square of the tokens.
    """
    if device.type != "cpu" or dtype == torch.float32:
        return attention_pytorch
    return attention_in_pieces if tokens <= FEW_TOKENS else attention_in_fp32


def attention_in_pieces(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    heads: int,
    mask: Tensor | None = None,
    skip_reshape: bool = False,
    **options: object,
) -> Tensor:
    """The host's plain products, of few heads at once where these are large: large memory goes back to the system after
    each use, and getting it again takes longer than the products. With a mask, which here text alone has, of all at
    once."""
    if mask is not None:
        plain = attention_in_fp32 if mask.dtype == torch.bool else attention_basic  # which takes another kind of those
        return plain(query, key, value, heads, mask=mask, skip_reshape=skip_reshape, **options)
    shape = "b heads l d" if skip_reshape else "b l (heads d)"
    each = [rearrange(x, f"{shape} -> (b heads) 1 l d", heads=heads) for x in (query, key, value)]
    count = max(1, CHUNK_BYTES // (each[0].shape[-2] * each[1].shape[-2] * query.element_size()))
    pieces = zip(*(x.split(count) for x in each), strict=True)
    mixed = torch.cat([attention_basic(*piece, 1, skip_reshape=True, **options) for piece in pieces])
    return rearrange(mixed, "(b heads) l d -> b l (heads d)", heads=heads)


def attention_in_fp32(
    query: Tensor, key: Tensor, value: Tensor, heads: int, mask: Tensor | None = None, **options: object
) -> Tensor:
    """torch's own, of any precision."""
    mask = mask if mask is None or mask.dtype == torch.bool else mask.float()
    mixed = attention_pytorch(query.float(), key.float(), value.float(), heads, mask=mask, **options)
    return mixed.to(query.dtype)
