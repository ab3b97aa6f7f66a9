"""Where a cross-attention layer looks.

Shapes: B rows, H heads of width d, L tokens, h x w places. A bias [B, h w, L] is added to the logits of all heads.
"""

import torch.nn.functional as F
from einops import rearrange
from torch import Tensor


def attention_maps(
    queries: Tensor, keys: Tensor, heads: int, shape: tuple[int, int], bias: Tensor | None = None
) -> Tensor:
    """Probabilities over the tokens, computed in fp32, as maps [B, H, L, h, w].

    queries: [B, h w, H d]. keys: [B, L, H d]. shape: (h, w).
    """
    queries, keys = (rearrange(x.float(), "b n (heads d) -> b heads n d", heads=heads) for x in (queries, keys))
    logits = queries @ keys.transpose(-1, -2) * queries.shape[-1] ** -0.5
    if bias is not None:
        logits = logits + bias.float().unsqueeze(1)
    return rearrange(logits.softmax(-1), "b heads (h w) l -> b heads l h w", h=shape[0])


def shown_sizes(latent: tuple[int, int]) -> set[tuple[int, int]]:
    """The sizes (h, w) of the layers in which attention is most about things: 1/2 and 1/4 of the latent's."""
    return {(-(-latent[0] // part), -(-latent[1] // part)) for part in (2, 4)}


def token_maps(
    queries: Tensor,
    keys: Tensor,
    heads: int,
    shape: tuple[int, int],
    latent: tuple[int, int],
    bias: Tensor | None = None,
) -> Tensor:
    """Where each token is looked for: the heads' mean of `attention_maps`, at the latent's size: [B, L, *latent]."""
    return F.interpolate(attention_maps(queries, keys, heads, shape, bias).mean(1), latent, mode="bilinear")
