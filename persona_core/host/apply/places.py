"""A place for each persona: outside it, its tokens draw no attention.

What FastComposer (arXiv 2305.10431) and Concept Conductor (arXiv 2408.03632) do with attention maps is done here with a
mask that the artist gives, in the layers' own softmax, so that it costs no second pass of the UNet.
Shapes: B rows of a pass, h x w places of a layer, L tokens of the context.
"""

from collections.abc import Callable, Mapping, Sequence
from uuid import UUID

import torch
import torch.nn.functional as F
from comfy.ldm.modules import attention
from comfy.ldm.modules.attention import attention_pytorch
from comfy.utils import repeat_to_batch_size
from torch import Tensor

from ...table import Place
from ..messages import warn
from ..model import cross_attention_blocks

LEAST = 1e-6  # of the attention that a token would draw: its logarithm must be a number


def within(places: Sequence[Place], cond: dict, size: tuple[int, int]) -> list[Place]:
    """Places as a conditioning's area sees them. size: of the latents, (h, w)."""
    area = cond.get("area")
    if area is None:
        return list(places)
    height, width, top, left = area
    cut = slice(top, top + height), slice(left, left + width)
    return [Place(resized(place.mask, size)[cut], place.tokens) for place in places]


def resized(mask: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(mask[None, None].float(), size, mode="bilinear", antialias=True)[0, 0].clamp(0, 1)


def with_places(replaced: Mapping, unet, places: Mapping[UUID, Sequence[Place]]) -> dict:
    """The host's attn2 replacements, each of which keeps personas to their places.

    places: by the uuid of a conditioning.
    """
    known: dict = {}
    blocks = cross_attention_blocks(unet)
    return {**replaced, **{one: kept(replaced.get(one, replaced.get(one[:2])), places, known) for one in blocks}}


def kept(original: Callable | None, places: Mapping[UUID, Sequence[Place]], known: dict) -> Callable:
    """A replacement of a layer's attention. original: another's, whose own part is left as it is. known: biases of this
    step, for layers of the same size."""

    def attend(query: Tensor, key: Tensor, value: Tensor, extra: dict) -> Tensor:
        about = tuple(extra["activations_shape"][2:]), tuple(extra.get("uuids") or ()), len(query), key.shape[1]
        if about not in known:
            known[about] = bias_of(*about, len(extra["sigmas"]), places, query)
        bias = known[about]
        if bias is None:
            return (original or chosen_attention)(query, key, value, extra)
        placed = attention_pytorch(query, key, value, extra["n_heads"], mask=bias)
        if original is None:
            return placed
        return original(query, key, value, extra) + placed - chosen_attention(query, key, value, extra)

    return attend


def chosen_attention(query: Tensor, key: Tensor, value: Tensor, extra: dict) -> Tensor:
    """What a cross-attention layer does where nothing replaces it, by the kind of attention that the host chose."""
    return attention.optimized_attention(
        query, key, value, extra["n_heads"], attn_precision=extra["attn_precision"], transformer_options=extra
    )


def bias_of(
    shape: tuple[int, int],
    uuids: Sequence[UUID],
    rows: int,
    length: int,
    batch: int,
    places: Mapping[UUID, Sequence[Place]],
    like: Tensor,
) -> Tensor | None:
    """What is added to the attention's logits [B, h w, L], or None for rows without a place.

    uuids: of the rows' conditionings, `batch` rows each. Packs that paint in tiles or couples have rows of their own,
    whose conditionings are not known here: there, personas may be anywhere, and it is said.
    """
    if not any(one in places for one in uuids):
        return None
    if rows != len(uuids) * batch:
        warn("A node paints parts of the picture by themselves: there, the mask of Apply is not followed.")
        return None
    return torch.cat([bias_of_one(shape, length, batch, places.get(one, ())).to(like) for one in uuids])


def bias_of_one(shape: tuple[int, int], length: int, batch: int, places: Sequence[Place]) -> Tensor:
    """Of a conditioning, [batch, h w, L]. Its context may be repeated, and end in what another pack has added."""
    bias = torch.zeros(batch, shape[0] * shape[1], length)
    for place in places:
        tokens = place.tokens.cpu().repeat(1, max(1, length // place.tokens.shape[1]))[:, :length]
        outside = 1 - resized(place.mask, shape).flatten()
        logits = (1 - outside[:, None] * tokens[:, None]).clamp(min=LEAST).log()
        bias[..., : tokens.shape[1]] += repeat_to_batch_size(logits, batch)
    return bias
