"""What both papers share, and where they go beyond textual inversion: at timestep t, these vectors stand at the
placeholder, for K and for V.

Shapes: B rows, N persona tokens, D width of the text encoder; of several encoders (SDXL), their widths' sum: their
vectors lie one behind the other.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from .schema import WIDEST
from .stages import Stages


@dataclass(frozen=True)
class TokenVectors:
    """The vectors that stand at the placeholder.

    keys, values: [B, N, D] input embeddings for the context of K and of V. They are the same object where a
    method does not tell them apart, so that one pass of the text encoder serves both.
    bypass: [B, N, D], added to the text encoder's last hidden state for V only, or None. There may be fewer rows of it
    than of the others: the rest have none.
    """

    keys: Tensor
    values: Tensor
    bypass: Tensor | None = None

    @property
    def sides(self) -> tuple[Tensor, ...]:
        """Those of K, and of V where it has its own."""
        return (self.keys,) if self.values is self.keys else (self.keys, self.values)

    def last(self, rows: int) -> "TokenVectors":
        """Those of the last rows, without a bypass."""
        keys = self.keys[-rows:]
        return TokenVectors(keys, keys if self.values is self.keys else self.values[-rows:])

    def keep_bypass(self, kept: Tensor) -> "TokenVectors":
        """Zero the bypass of each of the first rows that is not kept [R <= B], and leave out the others' (PersonaMagic,
        as NeTI, drops half of them in learning)."""
        if self.bypass is None:
            return self
        return replace(self, bypass=self.bypass[: len(kept)] * kept[:, None, None].to(self.bypass))

    @staticmethod
    def joined(parts: "Sequence[TokenVectors]", rows: Sequence[int]) -> "TokenVectors":
        """One behind the other: of each its first rows, with what bypass they have, then of each what is left."""

        def all_of(sides: Sequence[Tensor]) -> Tensor:
            first = [side[:count] for side, count in zip(sides, rows)]
            return torch.cat([*first, *(side[count:] for side, count in zip(sides, rows))])

        keys = all_of([part.keys for part in parts])
        alike = all(part.values is part.keys for part in parts)
        values = keys if alike else all_of([part.values for part in parts])
        bypass = [part.bypass for part in parts if part.bypass is not None]
        return TokenVectors(keys, values, torch.cat(bypass) if bypass else None)

    def split(self, widths: Sequence[int]) -> list["TokenVectors"]:
        """The vectors of each text encoder."""
        keys = self.keys.split(widths, -1)
        values = keys if self.values is self.keys else self.values.split(widths, -1)
        bypass = [None] * len(keys) if self.bypass is None else self.bypass.split(widths, -1)
        return [TokenVectors(*parts) for parts in zip(keys, values, bypass, strict=True)]

    def blend(self, word: Tensor, strength: float, widths: Sequence[int] = ()) -> "TokenVectors":
        """Move from `word`, `initializers` (strength 0), to these vectors (1) and past them (2), on their spheres."""
        if strength == 1:
            return self

        def moved(vectors: Tensor) -> Tensor:
            return on_sphere(torch.lerp(word.expand_as(vectors), vectors, strength), word, widths)

        keys = moved(self.keys)
        values = keys if self.values is self.keys else moved(self.values)
        return TokenVectors(keys, values, None if self.bypass is None else self.bypass * strength)


class Representation(nn.Module):
    """A persona as it is learned and used: a function of the timestep.

    tokens: N. stages: the timesteps that are learned. word: [D], the input embedding of the supercategory, its
    initializer token; [S, D] where the text encoder splits it into several, S <= N. widths: how many of the D numbers
    each text encoder takes.
    """

    tokens: int
    stages: Stages
    word: Tensor
    widths: tuple[int, ...]

    @property
    def initializers(self) -> Tensor:
        """What the N tokens begin at, and whose norm each keeps: see `initializers`."""
        return initializers(self.word, self.tokens)

    def at(self, t: Tensor, picture: Tensor | None = None) -> TokenVectors:
        """The vectors for timesteps t [B] in 0..999; `picture` [B] tells which reference a row shows."""
        raise NotImplementedError

    def exported(self) -> "Saved":
        """The same function with no more than generating needs: this is what a file keeps."""
        raise NotImplementedError


class Learnable(Representation):
    """A representation that `training.train` can learn.

    noise_multiplicity: how many rows of a step may be one example, which is a picture, a prompt, a timestep and whether
    the bypass is kept: the text encoder reads it once, and its rows differ in their noise alone. In the papers it is 1.
    reach: how many spreads of its word a token moves in a step, about, for a learning rate of 1. pieces: of the
    timesteps that have vectors of their own. apart: as how many of them they count that learn nothing from each other.
    """

    noise_multiplicity = 1
    pieces: int = 1
    apart: float = 1
    reach: float


class Saved(Representation):
    """A representation as a file keeps it. kind: its name there. history: how many values of a loss it may have
    beside it."""

    kind: str
    history: int = 500

    @property
    def starts(self) -> tuple[int, ...]:
        """The timesteps at which another piece of the function begins; inside a piece it is smooth, or constant. The
        stage is one, if nothing else is said."""
        return self.stages.t_lo, self.stages.t_hi + 1

    def clamped(self, t: float) -> float:
        """A timestep that has the same vectors as t, and is the same all over a piece that is constant."""
        return min(max(t, self.stages.t_lo), self.stages.t_hi)

    @classmethod
    def layout(cls, shapes: Mapping[str, tuple[int, ...]], tokens: int, stages: Stages) -> dict[str, tuple[int, ...]]:
        """What shapes a file's tensors must have, by their names, where these are those that it says. Raises ValueError
        where that cannot be told."""
        raise NotImplementedError

    @classmethod
    def from_tensors(
        cls, tensors: Mapping[str, Tensor], stages: Stages, tokens: int, widths: tuple[int, ...]
    ) -> "Saved":
        """From the tensors of a file, which have that layout."""
        raise NotImplementedError

    def small(self) -> "Saved":
        """The same function but for what no picture shows, in the fewest numbers that say it."""
        return self

    def facts(self) -> dict[str, object]:
        """What Persona Info says of it."""
        raise NotImplementedError


def initializers(word: Tensor, tokens: int) -> Tensor:
    """What N tokens begin at, to be broadcast: a word of one token [D] itself; of one of several [S, D] these in their
    order, the last of them for all that are left, [N, D]. Raises ValueError where S > N."""
    if word.ndim == 1:
        return word
    if len(word) > tokens:
        raise ValueError(f"a word of {len(word)} tokens has no room in {tokens}")
    return torch.cat([word, word[-1:].expand(tokens - len(word), -1)])


def word_shape(shapes: Mapping[str, tuple[int, ...]], tokens: int) -> tuple[int, ...]:
    """Of the word in a file whose tensors have these shapes: [D], or [S, D] with 1 < S <= N. Raises ValueError."""
    shape = tuple(shapes.get("word", ()))
    if not 1 <= len(shape) <= 2 or not 1 <= shape[-1] <= WIDEST or not all(1 < some <= tokens for some in shape[:-1]):
        raise ValueError(f"its word has the shape {list(shape)[:4]}")
    return shape


def spread(word: Tensor, widths: Sequence[int] = ()) -> Tensor:
    """How large the numbers of a word [D] are, root mean square: the same for all of one text encoder's, [D]. Of
    several tokens [N, D], of each.

    What tokens move by is counted in it, so that a learning rate means the same in every text encoder.
    """
    if word.ndim > 1:
        return torch.stack([spread(token, widths) for token in word])
    parts = word.split(widths or len(word))
    return torch.cat([part.square().mean().sqrt().expand(len(part)) for part in parts])


def add_bypass(hidden: Tensor, bypass: Tensor, where: Tensor) -> Tensor:
    """h' = normalize(h + b) * ||h|| at the persona's tokens (NeTI's textual bypass, arXiv 2305.15391).

    hidden, bypass: [..., L, W], the text encoder's last hidden state and what is added to it. where: [..., L], true at
    the persona's tokens; the others stay.
    """
    return torch.where(where[..., None], on_sphere(hidden + bypass, hidden), hidden)


def on_sphere(vectors: Tensor, reference: Tensor, widths: Sequence[int] = ()) -> Tensor:
    """Give `vectors` [..., D] the norm of `reference` [..., D]: the constraint of PersonaMagic's mapper.

    widths: of the text encoders whose vectors lie in D; each keeps its own norm. None: there is one.
    """
    parts = (side.split(widths or side.shape[-1], -1) for side in (vectors, reference))
    return torch.cat(
        [torch.nn.functional.normalize(one, dim=-1) * other.norm(dim=-1, keepdim=True) for one, other in zip(*parts)],
        dim=-1,
    )
