"""A place for each persona: outside it, its tokens draw no attention.

What FastComposer (arXiv 2305.10431) and Concept Conductor (arXiv 2408.03632) do with attention maps is done here with a
mask that the artist gives, in the layers' own softmax, so that it costs no second pass of the UNet.
Shapes: B rows of a pass, h x w places of a layer, R rows of a context, L its tokens.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

import torch
import torch.nn.functional as F
from comfy.ldm.modules import attention
from comfy.ldm.modules.attention import attention_pytorch
from comfy.utils import repeat_to_batch_size
from torch import Tensor

from ...table import Place
from ..messages import warn
from ..model import check_layers, cross_attention_blocks

OVERRIDE = "optimized_attention_override"  # the host's: in a MODEL's options, another's kind of attention
PLACES = "persona_places"  # in the transformer options of one step: a Followed
BIAS = "persona_bias"  # in what another's attention is told: what is added to the logits of its rows, [B, h w, L]
# Of the attention that a token would draw: its logarithm must be a number, also in fp16. Some heads want a persona e^20
# times as much as other words: in the made-up world 1e-6 left one to be seen outside of its mask.
LEAST = 1e-30


@dataclass(frozen=True)
class Followed:
    """What one step follows. places: by the uuid of a conditioning. known: of the run, see `once`."""

    places: Mapping[UUID, Sequence[Place]]
    known: dict


def once(known: dict, make: Callable, *given) -> object:
    """make(*given), which `known` keeps: for the same tensors and places the same object, at each step and layer."""
    if (make, given) not in known:
        known[make, given] = make(*given)
    return known[make, given]


def within(places: Sequence[Place], cond: dict, size: tuple[int, int], known: dict) -> list[Place]:
    """Places as a conditioning's area sees them. size: of the latents, (h, w)."""
    area = cond.get("area")
    if area is None:
        return list(places)
    return [once(known, part_of, place, once(known, resized, place.mask, size), tuple(area)) for place in places]


def part_of(place: Place, mask: Tensor, area: tuple[int, int, int, int]) -> Place:
    """A place whose mask is as large as the latents, cut to an area of them."""
    height, width, top, left = area
    return Place(mask[top : top + height, left : left + width], place.tokens)


def resized(mask: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(mask[None, None].float(), size, mode="bilinear", antialias=True)[0, 0].clamp(0, 1)


def with_places(replaced: Mapping, unet) -> dict:
    """The host's attn2 replacements, each of which keeps personas to the places of its step's `Followed`. Raises
    UnsupportedModel with a sentence."""
    check_layers(unet)
    blocks = cross_attention_blocks(unet)
    return {**replaced, **{one: kept(replaced.get(one, replaced.get(one[:2]))) for one in blocks}}


def kept(original: Callable | None) -> Callable:
    """A replacement of a layer's attention. original: another's.

    What others made of attention stays, and what the mask changes in the usual one is added: they need not take a mask.
    """

    def attend(query: Tensor, key: Tensor, value: Tensor, extra: dict) -> Tensor:
        bias = bias_for(query, key, extra)
        if bias is None:
            return (original or chosen_attention)(query, key, value, extra)
        placed = attention_pytorch(query, key, value, extra["n_heads"], mask=bias)
        if original is None and OVERRIDE not in extra:
            return placed
        extra[BIAS] = bias  # not in a copy: others write into it, for what they do behind the layer
        theirs = (original or chosen_attention)(query, key, value, extra)
        return theirs + placed - attention_pytorch(query, key, value, extra["n_heads"])

    return attend


def chosen_attention(query: Tensor, key: Tensor, value: Tensor, extra: dict) -> Tensor:
    """What a cross-attention layer does where nothing replaces it, by the kind of attention that the host chose."""
    return attention.optimized_attention(
        query, key, value, extra["n_heads"], attn_precision=extra["attn_precision"], transformer_options=extra
    )


@torch.compiler.disable  # uuids are new in each run, and compiled code would be made anew for them
def bias_for(query: Tensor, key: Tensor, extra: dict) -> Tensor | None:
    """What is added to the logits of a layer's attention [B, h w, L], or None for rows without a place."""
    shape, uuids = tuple(extra["activations_shape"][2:]), tuple(extra.get("uuids") or ())
    return bias_of(shape, uuids, len(query), key.shape[1], len(extra["sigmas"]), extra[PLACES], query)


def bias_of(
    shape: tuple[int, int],
    uuids: Sequence[UUID],
    rows: int,
    length: int,
    batch: int,
    followed: Followed,
    like: Tensor,
) -> Tensor | None:
    """The same, of a layer that is shape (h, w) large, for contexts as long as `length`.

    uuids: of the rows' conditionings, `batch` rows each. Packs that paint in tiles or couples have rows of their own,
    or no uuids, so that the rows' conditionings are not known here: there, personas may be anywhere, and it is said.
    """
    places, known = followed.places, followed.known
    if uuids and not any(one in places for one in uuids):
        return None
    if rows != len(uuids) * batch:
        warn_of_parts(known)
        return None
    placed = tuple(
        tuple((once(known, resized, place.mask, shape), place.tokens) for place in places.get(one, ())) for one in uuids
    )
    return once(known, bias_of_all, placed, shape, length, batch, like.dtype, like.device)


def warn_of_parts(known: dict) -> None:
    """Say once a run that a mask is not followed everywhere."""
    once(known, warn, "A node paints parts of the picture by themselves: there, the mask of Apply is not followed.")


Placed = Sequence[tuple[Tensor, Tensor]]  # of a conditioning: masks as large as the layer, and whose tokens' they are


def bias_of_all(
    placed: Sequence[Placed],
    shape: tuple[int, int],
    length: int,
    batch: int,
    dtype: torch.dtype,
    device: torch.device,
) -> Tensor:
    return torch.cat([bias_of_one(one, shape, length, batch).to(device, dtype) for one in placed])


def bias_of_one(placed: Placed, shape: tuple[int, int], length: int, batch: int) -> Tensor:
    """Of a conditioning, [batch, h w, L]. Its context may be repeated, and end in what another pack has added."""
    bias = torch.zeros(batch, shape[0] * shape[1], length)
    for mask, rows in placed:
        tokens = rows.cpu().repeat(1, max(1, length // rows.shape[1]))[:, :length]
        outside = 1 - mask.flatten()
        logits = (1 - outside[:, None] * tokens[:, None]).clamp(min=LEAST).log()
        bias[..., : tokens.shape[1]] += repeat_to_batch_size(logits, batch)
    return bias
