"""Where a cross-attention layer looks.

Shapes: B rows, H heads of width d, L tokens, h x w places.
"""

from einops import rearrange
from torch import Tensor


def attention_maps(queries: Tensor, keys: Tensor, heads: int, shape: tuple[int, int]) -> Tensor:
    """Probabilities over the tokens, computed in fp32, as maps [B, H, L, h, w].

    queries: [B, h w, H d]. keys: [B, L, H d]. shape: (h, w).
    """
    queries, keys = (rearrange(x.float(), "b n (heads d) -> b heads n d", heads=heads) for x in (queries, keys))
    shares = (queries @ keys.transpose(-1, -2) * queries.shape[-1] ** -0.5).softmax(-1)
    return rearrange(shares, "b heads (h w) l -> b heads l h w", h=shape[0])
