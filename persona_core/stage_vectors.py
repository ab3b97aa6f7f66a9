"""What a stage mapper says, kept as numbers: the mapper itself is read at a few timesteps and never elsewhere.

Its vectors are smooth in t. So a few patterns are enough, each with a share that changes with t.

Shapes: T timesteps, G kept ones, R patterns, B rows, N persona tokens, D width of the text encoder (of all).
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from .representation import Representation, Saved, TokenVectors, initializers, on_sphere, word_shape
from .stages import GRID, Stages

STEPS = GRID // 4, 1  # timesteps between two kept ones: usually; of a function that changes too fast for that
# How far the vectors may be from the mapper's at any timestep, in how far those are from the word's; of the bypass, in
# its own size. Contexts may be 1e-3 off; numbers in fp16 alone are 3e-4.
TOLERANCE = 7e-4
FAINT = 0.01  # of its largest size: what is smaller at a timestep counts as of that size
KEPT_IN, HISTORY = torch.float16, 200  # as persona.Persona keeps numbers; of a loss beside them
PARTS = "offsets", "bypass"
LARGEST = 2**24  # timesteps times numbers of a timestep: what is larger, no text encoder asks for, and takes minutes
TINY, ROUNDING = 1e-30, 1e-9


class StageVectors(Saved):
    """t -> N vectors on the sphere of the supercategory's word, and N bypass vectors for V.

    word: [D] or [S, D], the input embedding of the supercategory. stages: the dynamic stage; t outside it is clamped.
    widths: of the text encoders, whose vectors have a sphere each; none: there is one.
    offsets, bypass: what is added to the word, and behind the text encoder.
    """

    kept: Tensor
    kind, history = "stage_vectors", HISTORY

    def __init__(
        self, word: Tensor, stages: Stages, offsets: "Patterns", bypass: "Patterns", widths: tuple[int, ...] = ()
    ):
        super().__init__()
        self.tokens, self.stages, self.widths = offsets.tokens, stages, widths or (word.shape[-1],)
        self.register_buffer("word", word.detach().clone().float())
        self.offsets, self.bypass = offsets, bypass
        kept = kept_timesteps(stages, step_of(stages, offsets.points))
        self.register_buffer("kept", torch.tensor(kept, dtype=torch.float32), persistent=False)

    @classmethod
    def layout(cls, shapes: Mapping[str, tuple[int, ...]], tokens: int, stages: Stages) -> dict[str, tuple[int, ...]]:
        word = word_shape(shapes, tokens)
        layout = {"word": word}
        points = (shapes.get("offsets.shares") or (0,))[0]
        step_of(stages, points)
        for name in PARTS:
            count = (shapes.get(f"{name}.patterns") or (0,))[0]
            if not 1 <= count <= points:
                raise ValueError(f"its {name} have {count} patterns, not 1 to {points}")
            layout |= {f"{name}.patterns": (count, tokens, word[-1]), f"{name}.shares": (points, count)}
        return layout

    @classmethod
    def from_tensors(
        cls, tensors: Mapping[str, Tensor], stages: Stages, tokens: int, widths: tuple[int, ...]
    ) -> "StageVectors":
        """From the tensors of a file, which have that layout."""
        offsets, bypass = (Patterns(tensors[f"{name}.patterns"], tensors[f"{name}.shares"]) for name in PARTS)
        return cls(tensors["word"], stages, offsets, bypass, widths)

    @classmethod
    @torch.no_grad()
    def of(cls, learned: Representation) -> "StageVectors | None":
        """As near to `learned` as TOLERANCE at each timestep, in as few numbers as that takes; None where fp16 is too
        coarse for it, or they are too many."""
        stages, widths = learned.stages, learned.widths
        if (stages.t_hi - stages.t_lo) * learned.initializers.numel() > LARGEST:
            return None
        word = learned.word.cpu().to(KEPT_IN).float()  # as the file has it: its rounding is made up for
        t = torch.arange(stages.t_lo, stages.t_hi + 1, device=learned.word.device)
        vectors = learned.at(t.float())
        if vectors.bypass is None:
            return None
        sides = vectors.keys.cpu() - initializers(word, learned.tokens), vectors.bypass.cpu()
        for step in STEPS:
            kept = torch.tensor(kept_timesteps(stages, step)) - stages.t_lo
            offsets, bypass = (Patterns.of(side, kept, widths) for side in sides)
            if offsets and bypass:
                return cls(word, stages, offsets, bypass, widths)
        return None

    def facts(self) -> dict[str, object]:
        return {
            "kind": "what PersonaMagic's stage mapper says",
            "tokens": self.tokens,
            "dynamic stage": f"{self.stages.t_lo} to {self.stages.t_hi}",
        }

    def at(self, t: Tensor, picture: Tensor | None = None) -> TokenVectors:
        """The vectors for timesteps t [B]."""
        t = t.to(self.kept).clamp(self.stages.t_lo, self.stages.t_hi)
        lower, share = between(self.kept, t)
        vectors = on_sphere(self.offsets(lower, share) + self.initializers, self.initializers, self.widths)
        return TokenVectors(vectors, vectors, self.bypass(lower, share))

    def exported(self) -> "StageVectors":
        return self


class Patterns(nn.Module):
    """A function of t as a sum of patterns [R, N, D], by their shares [G, R] at the kept timesteps."""

    patterns: Tensor
    shares: Tensor

    def __init__(self, patterns: Tensor, shares: Tensor):
        super().__init__()
        for name, value in (("patterns", patterns), ("shares", shares)):
            self.register_buffer(name, value.detach().clone().float())

    @property
    def tokens(self) -> int:
        return self.patterns.shape[1]

    @property
    def points(self) -> int:
        return len(self.shares)

    def forward(self, lower: Tensor, share: Tensor) -> Tensor:
        """[B, N, D], `share` [B] of the way from the kept timesteps `lower` [B] to the next ones."""
        shares = torch.lerp(self.shares[lower], self.shares[lower + 1], share[:, None])
        return torch.einsum("br,rnd->bnd", shares, self.patterns)

    @classmethod
    def of(cls, whole: Tensor, kept: Tensor, widths: Sequence[int]) -> "Patterns | None":
        """The fewest that are as near as TOLERANCE to all of `whole` [T, N, D], as kept at rows `kept` [G] of it, in
        fp16; None where there are none.

        Each text encoder counts as much as another, and so does each row, unless it is FAINT."""
        if not whole.any():
            return cls(whole.new_zeros(1, *whole.shape[1:]), whole.new_zeros(len(kept), 1))
        rows = whole.double()
        parts = [part.square().mean().sqrt().expand(part.shape[-1]) for part in rows.split(widths, -1)]
        unit = torch.cat(parts).clamp(min=TINY)
        even = (rows / unit).flatten(1)
        size = even.norm(dim=1)
        allowed = TOLERANCE * size.clamp(min=FAINT * size.max().item())
        lower, share = between(kept, torch.arange(len(rows)))
        share = share.double()[:, None]
        if ((torch.lerp(even[kept][lower], even[kept][lower + 1], share) - even).norm(dim=1) > allowed).any():
            return None
        weight = allowed[kept, None]
        left, values, right = torch.linalg.svd(even[kept] / weight, full_matrices=False)
        rank = int((values > ROUNDING * values[0]).sum())
        # A pattern's numbers and its shares are of one size, and the largest share just below a power of 2, where fp16
        # is finest.
        peaks = (left * values * weight).abs().amax(0).clamp(min=TINY)
        largest = unit.max()
        root = 0.999 * torch.exp2((peaks * largest).log2().div(2).round())
        patterns = (right * (peaks / root)[:, None]).reshape(-1, *rows.shape[1:]).mul(unit).to(KEPT_IN)
        flat = (patterns.double() / unit).flatten(1)
        among, seen = flat @ flat.T, even @ flat.T

        def shares_of(count: int) -> Tensor:
            return torch.linalg.solve(among[:count, :count], seen[kept, :count].T).T.to(KEPT_IN)

        def are_enough(count: int) -> bool:
            shares = shares_of(count).double()
            found = torch.lerp(shares[lower], shares[lower + 1], share)
            wrong = ((found @ among[:count, :count] - 2 * seen[:, :count]) * found).sum(1) + size.square()
            return bool((wrong <= allowed.square()).all())

        count = 1 + bisect_left(range(1, rank + 1), True, key=are_enough)
        return cls(patterns[:count], shares_of(count)) if count <= rank else None


def kept_timesteps(stages: Stages, step: int) -> tuple[int, ...]:
    """From one end of the stage to the other."""
    return (*range(stages.t_lo, stages.t_hi, step), stages.t_hi)


def step_of(stages: Stages, points: int) -> int:
    """Of so many kept timesteps. Raises ValueError where no stage of this length has so many."""
    for step in STEPS:
        if len(kept_timesteps(stages, step)) == points:
            return step
    raise ValueError(f"it keeps {points} timesteps of the stage {stages.t_lo} to {stages.t_hi}")


def between(kept: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """The last of the increasing `kept` [G] at or below each t [B], but for the very last, and the share of the way to
    the next."""
    lower = (torch.searchsorted(kept, t, right=True) - 1).clamp(0, len(kept) - 2)
    return lower, (t - kept[lower]) / (kept[lower + 1] - kept[lower])
