"""The bypass of personas (NeTI's textual bypass), added behind the layers of the host's text encoders.

Shapes: L tokens of the context, W width of a text encoder, R rows of its batch, M tokens with a bypass.
"""

from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ...representation import add_bypass
from ..clip import StandIn
from ..towers import TextTower
from .prompt import Row

ROUNDING = 1e-2  # of a token's length: the host may compute in half precision


@dataclass
class Bypass:
    """What the pass of the text encoders now running adds to their last hidden state.

    moves: for each encoder by its key, tokens [M, W] and the bypass [M, W] of each. Not by their places: packs that
    weigh words encode a prompt in more pieces than they were given. spared: the first rows, which get none.
    """

    moves: Mapping[str, tuple[Tensor, Tensor]] = field(default_factory=dict)
    spared: int = 0

    @contextmanager
    def during(self, rows: Mapping[str, Sequence[Row]], spared: int):
        # A prompt may hold a persona hundreds of times: its tokens are the same ones at the same t.
        moves = {
            key: {token.data_ptr(): (token, bypass) for row in encoder for token, bypass in row.bypass}
            for key, encoder in rows.items()
        }
        self.moves = {key: tuple(map(torch.stack, zip(*pairs.values()))) for key, pairs in moves.items() if pairs}
        self.spared = spared
        try:
            yield
        finally:
            self.moves = {}


class ClipLayers(StandIn):
    """Stands in for the forward of a CLIP's layers: adds the bypass to what they end with, keeping its norm.

    The host takes the context from the last layer or from an earlier one; where it norms the context, it does so after.
    """

    def __init__(self, original, tower: TextTower, bypass: Bypass):
        super().__init__(original)
        self.key, self.embeddings, self.bypass = tower.key, tower.transformer.embeddings, bypass

    def __call__(self, x: Tensor, *args, **kwargs):
        if self.key not in self.bypass.moves:
            return self.original(x, *args, **kwargs)
        position = self.embeddings.position_embedding.weight[: x.shape[1]].to(x.device, torch.float32)
        # K's rows and V's are alike where a persona has the same tokens for both: their layers are computed once.
        shared = not args and is_causal_alone(kwargs.get("mask"))
        first = torch.tensor(first_alike(x) if shared else range(len(x)), device=x.device)
        distinct, place = first.unique(return_inverse=True)
        x = x[distinct]
        # Before the layers, which add to x in place.
        moved = Moved.of(self.bypass, self.key, x.float() - position, place)
        ends = self.original(x, *args, **kwargs)
        return tuple(end if end is None else moved.add_to(end[place]) for end in ends)


class QwenLayers(StandIn):
    """The same for a language model, whose forward takes embeddings by their name."""

    def __init__(self, original, tower: TextTower, bypass: Bypass):
        super().__init__(original)
        self.key, self.bypass = tower.key, bypass

    def __call__(self, *args, embeds: Tensor | None = None, **kwargs):
        if embeds is None or self.key not in self.bypass.moves:
            return self.original(*args, embeds=embeds, **kwargs)
        moved = Moved.of(self.bypass, self.key, embeds.float())
        ends = self.original(*args, embeds=embeds, **kwargs)
        return tuple(moved.add_to(end) if isinstance(end, Tensor) else end for end in ends)


@dataclass(frozen=True)
class Moved:
    """Where tokens are that a bypass moves: found [R, L], and by how much [R, L, W]."""

    found: Tensor
    by: Tensor

    @classmethod
    def of(cls, bypass: Bypass, key: str, x: Tensor, place: Tensor | None = None) -> "Moved":
        """x: the tokens [R, L, W] that an encoder's layers get. place: of each row that comes out, the row in x."""
        tokens, moves = (tensor.to(x.device, torch.float32) for tensor in bypass.moves[key])
        which, found = (one if place is None else one[place] for one in nearest(x, tokens))
        found[: bypass.spared] = False
        return cls(found, moves[which])

    def add_to(self, end: Tensor) -> Tensor:
        return add_bypass(end, self.by.to(end), self.found)


def is_causal_alone(mask: Tensor | None) -> bool:
    """Whether a mask is the same for every row."""
    return mask is None or mask.ndim == 2


def first_alike(x: Tensor) -> list[int]:
    """For each row of x [R, ...] the first one that has the same numbers."""
    known: dict[float, list[int]] = {}
    first = []
    for row, total in enumerate(x.flatten(1).float().sum(1).tolist()):
        others = known.setdefault(total, [])
        first.append(next((other for other in others if torch.equal(x[other], x[row])), row))
        others.append(row)
    return first


def nearest(x: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """Which of the tokens [M, W] stands at each place of x [R, L, W], and whether it does, but for rounding."""
    distance = torch.cdist(x.flatten(0, 1), tokens, compute_mode="donot_use_mm_for_euclid_dist")
    least, which = distance.view(*x.shape[:2], -1).min(-1)
    return which, least < ROUNDING * tokens.norm(dim=-1)[which]
