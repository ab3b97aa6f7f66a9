"""What the measurement needs of a place to measure in: real checkpoints and photos, or the made-up world."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from bench.paper.prompts import Prompt
from persona_core.photos import Photo


class CannotMeasure(Exception):
    """With a sentence: what is missing, and what to do."""


@dataclass(frozen=True)
class Sampler:
    """As KSampler has them."""

    name: str
    scheduler: str
    steps: int
    guidance: float


@dataclass(frozen=True)
class Painter:
    """What paints a prompt. word: what stands in it for the person. encode: a prompt to a CONDITIONING."""

    model: object
    clip: object
    word: str
    encode: Callable[[str], list]

    def says(self, prompt: Prompt) -> str:
        return prompt.text.replace("{}", self.word)


@dataclass(frozen=True)
class Score:
    """Of one picture; None where it cannot be measured, or was not asked for.

    id: likeness. prompt: how far it shows what was asked. detect: whether there is a face. id_prompt: likeness, counted
    0 where the prompt was missed.
    """

    id: float | None
    prompt: float | None
    detect: float
    id_prompt: float | None


class World(Protocol):
    """made_of: all that results depend on beside code and settings, for their folder's name; it is not written down.
    about: what the page tells of it. notes: sentences for the page, on what could not be measured and why. names: of
    the people, who have numbers elsewhere. facts: of each, for the page: floor and ceiling of their ID.
    neighbours: what can be put beside a persona, by name: it takes what paints and a photo, and gives what paints
    then."""

    supercategory: str
    resolution: int
    prompts: Sequence[Prompt]
    samplers: Mapping[str, Sampler]
    names: Sequence[str]
    made_of: Sequence[object]
    about: Mapping[str, object]
    notes: Sequence[str]
    facts: Sequence[Mapping[str, float | None]]
    neighbours: Mapping[str, Callable[[Painter, Tensor], Painter]]

    @property
    def models(self) -> tuple:
        """MODEL, CLIP, VAE."""
        ...

    def photo(self, number: int) -> Photo:
        """Of a person, as learning takes it: masked, cropped, sized."""
        ...

    def paint(
        self,
        painter: Painter,
        prompts: Sequence[Prompt],
        seeds: Sequence[int],
        sampler: Sampler,
        on_prompt: Callable[[], None],
    ) -> Tensor:
        """Each prompt with each seed, [prompts * seeds, 3, H, W] in 0..1. on_prompt: called after each."""
        ...

    def score(self, pictures: Tensor, prompts: Sequence[Prompt], number: int) -> list[Score]:
        """Of pictures of a person and the prompt of each."""
        ...
