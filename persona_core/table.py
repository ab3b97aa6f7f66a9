"""A prompt with personas as a table over the timesteps: which context makes K and which makes V, at every t.

Shapes: G grid points, R rows of a context (one prompt is one), L its tokens, D its width.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from .noise import shifted
from .persona import Persona
from .representation import TokenVectors
from .stages import GRID, LAST_TIMESTEP, TIMESTEPS

SLIDERS = {"strength": 2, "start_at": 1, "end_at": 1, "key_locking": 1, "context_preservation": 1}  # and their ends
WORD, PERSONA = "supercategory", "persona"
ROUNDING = 1e-6  # of a timestep


def check_sliders(chosen: Mapping[str, float]) -> None:
    """Of `AppliedPersona`. Raises ValueError with a sentence."""
    for name, value in chosen.items():
        if not 0 <= value <= SLIDERS[name]:
            raise ValueError(f"{name} is {value:g}. Give a number from 0 to {SLIDERS[name]}.")
    start, end = chosen.get("start_at", 0.0), chosen.get("end_at", 1.0)
    if start >= end:
        raise ValueError(
            f"start_at is {start:g} and end_at is {end:g}: the persona would stand nowhere. Let start_at be the "
            "smaller one, or set strength to 0 if that is what you want."
        )


@dataclass(frozen=True, eq=False)
class Place:
    """Where in the picture a persona's tokens may draw attention: mask [H, W] in 0..1. tokens: [R, L], 1 at those."""

    mask: Tensor
    tokens: Tensor


@dataclass(frozen=True)
class AppliedPersona:
    """A persona as one prompt uses it.

    strength: 0 = the supercategory's word, 1 = as learned, up to 2. early, late: what stands at the
    placeholder above and below the dynamic stage: the word, or the persona's vectors at its nearer end.
    start_at, end_at: shares of the sampling, 0..1, outside which the word stands.
    key_locking: 0..1, how far K goes back to the word, while V stays the persona's (Perfusion, arXiv 2305.01644).
    context_preservation: 0..1, how far K and V of all other tokens go back to what they are beside the word (AlignIT,
    arXiv 2406.18893).
    mask: [H, W] in 0..1, of the picture, outside which the persona draws no attention; None: everywhere.
    shift: of a flow's noise levels over the sampling, see `noise.shifted`; None: it is no flow.
    """

    persona: Persona
    strength: float = 1.0
    early: str = WORD
    late: str = PERSONA
    start_at: float = 0.0
    end_at: float = 1.0
    key_locking: float = 0.0
    context_preservation: float = 0.0
    mask: Tensor | None = field(default=None, compare=False)
    shift: float | None = None

    def __post_init__(self) -> None:
        """Raises ValueError with a sentence for a number out of range: the host checks those over a link not at all."""
        check_sliders({name: getattr(self, name) for name in SLIDERS})

    @property
    def reach(self) -> tuple[int, int]:
        """The lowest and the highest timestep at which the persona may stand. Shares count as the host's do."""
        shares = 1 - self.end_at, 1 - self.start_at
        if self.shift is None:
            return math.ceil(shares[0] * LAST_TIMESTEP), math.floor(shares[1] * LAST_TIMESTEP)
        # A flow's timesteps are no whole numbers: one that begins at a step must have it.
        lowest, highest = (TIMESTEPS * shifted(share, self.shift) for share in shares)
        return math.floor(lowest + ROUNDING), min(math.ceil(highest - ROUNDING), LAST_TIMESTEP)

    @property
    def starts(self) -> set[int]:
        """The timesteps at which something else begins to stand at the placeholder."""
        lowest, highest = self.reach
        return {lowest, highest + 1, *self.persona.representation.starts}

    def clamped(self, t: float) -> float | None:
        """The timestep whose vectors stand at the placeholder at t, or None for the word."""
        stages, (lowest, highest) = self.persona.representation.stages, self.reach
        if self.strength == 0 or (t > stages.t_hi and self.early == WORD) or (t < stages.t_lo and self.late == WORD):
            return None
        return self.persona.representation.clamped(t) if lowest <= t <= highest else None

    @torch.no_grad()
    def vectors(self, t: float) -> TokenVectors | None:
        """What stands at the placeholder at t: vectors [1, N, D], or None for the supercategory's word."""
        at = self.clamped(t)
        if at is None:
            return None
        representation = self.persona.representation
        learned, widths = representation.at(torch.tensor([at])), representation.widths
        used = learned.blend(self.word, self.strength, widths)
        if not self.key_locking:
            return used
        locked = learned.blend(self.word, self.strength * (1 - self.key_locking), widths)
        return replace(used, keys=locked.keys)

    @property
    def word(self) -> Tensor:
        """The supercategory's input embedding at each of the persona's tokens: [D], or [N, D] where they differ."""
        return self.persona.representation.initializers


@dataclass(frozen=True)
class Segment:
    """Timesteps after which the same kind of thing stands at every placeholder: above `after`, up to `until`.

    grid: increasing timesteps [G] at which contexts are made; between them they are interpolated.
    """

    after: float
    until: float
    grid: tuple[int, ...]


def plan(applied: Sequence[AppliedPersona]) -> list[Segment]:
    """Cut the timesteps where a piece of a persona begins; leave out where every persona is its word."""
    firsts = {0, TIMESTEPS}.union(*(use.starts for use in applied))
    # Timesteps are whole numbers, so a cut between two of them leaves no question of whose end it is.
    ends = sorted(first - 0.5 for first in firsts)
    segments = []
    for after, until in zip(ends, ends[1:]):
        first, last = math.ceil(after), math.floor(until)
        now, then = ([use.clamped(t) for use in applied] for t in (first, last))
        if any(t is not None for t in now):
            grid = (first,) if now == then else (*range(first, last, GRID), last)
            segments.append(Segment(after, until, grid))
    return segments


@dataclass(frozen=True, eq=False)
class ContextTable:
    """The contexts of one encoded prompt.

    base: [1, L, D], the prompt with each supercategory's word; it also holds wherever no segment does.
    placeholders: of the personas in the prompt.
    segments, keys, values: one entry a segment, contexts [G, L, D] on its grid. places: of the personas that have one,
    for each segment; everywhere: while no persona stands, of their words.
    moving: the tokens [M] that are others than the base's at some t; keys and values then hold those alone, [G, M, D].
    None: all.
    """

    base: Tensor
    segments: tuple[Segment, ...]
    keys: tuple[Tensor, ...]
    values: tuple[Tensor, ...]
    placeholders: frozenset[str] = frozenset()
    places: tuple[tuple[Place, ...], ...] = ()
    everywhere: tuple[Place, ...] = ()
    moving: Tensor | None = None

    @property
    def constant(self) -> bool:
        """Whether the words stand everywhere, as at strength 0, and may be anywhere."""
        return not self.segments and not self.everywhere

    def at(self, t: float) -> tuple[Tensor, Tensor]:
        """The contexts of K and of V at timestep t in 0..999, [1, L, D] each."""
        for segment, keys, values in zip(self.segments, self.keys, self.values):
            if segment.after < t <= segment.until:
                lower, share = locate(segment.grid, t)
                return self.whole(interpolate(keys, lower, share)), self.whole(interpolate(values, lower, share))
        return self.base, self.base

    def whole(self, context: Tensor) -> Tensor:
        """The context [1, L, D] of its moving tokens."""
        return context if self.moving is None else self.base.index_copy(1, self.moving, context)

    def places_at(self, t: float) -> Sequence[Place]:
        """The places of the personas, and of words that stand for them, at timestep t."""
        for segment, places in zip(self.segments, self.places):
            if segment.after < t <= segment.until:
                return places
        return self.everywhere


def locate(grid: Sequence[int], t: float) -> tuple[int, float]:
    """The grid point at or below t, and how far (0..1) t is towards the next one; beyond the ends, the end."""
    if len(grid) == 1 or t <= grid[0]:
        return 0, 0.0
    if t >= grid[-1]:
        return len(grid) - 1, 0.0
    lower = max(i for i, point in enumerate(grid) if point <= t)
    return lower, (t - grid[lower]) / (grid[lower + 1] - grid[lower])


def interpolate(contexts: Tensor, lower: int, share: float) -> Tensor:
    """contexts [G, L, D] -> [1, L, D]."""
    if share == 0:
        return contexts[lower : lower + 1]
    return torch.lerp(contexts[lower : lower + 1], contexts[lower + 1 : lower + 2], share)
