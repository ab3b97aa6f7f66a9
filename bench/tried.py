"""What was tried to learn sooner, and is not in the pack: each as a change of how one person is learned."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from unittest.mock import patch

import torch
from torch import Tensor

from bench.quality import models
from persona_core import training
from persona_core.mapper import StageMapper
from persona_core.recipes import Recipe, StageMapperRecipe
from persona_core.representation import Learnable, TokenVectors, on_sphere
from persona_core.task import TrainingTask
from persona_core.training import sample_batch as plain_batch


@dataclass
class Trial:
    """How one person is learned: a recipe, and what is changed in the loop."""

    recipe: Recipe
    sample_batch: Callable[..., training.Batch] = training.sample_batch

    @contextmanager
    def changes(self) -> Iterator[None]:
        with patch.object(training, "sample_batch", self.sample_batch):
            yield


def plain(recipe: Recipe) -> Trial:
    return Trial(recipe)


def attributes(one: object) -> dict[str, object]:
    """Of a dataclass, to make another kind of it."""
    return {field.name: getattr(one, field.name) for field in fields(one)}


def rich_for_each(recipe: Recipe) -> Trial:
    """A rich prompt for each row, as in the published code."""

    def sample_batch(task: TrainingTask, index: int) -> training.Batch:
        draws = plain_batch(task, index)
        chance, rows = torch.Generator().manual_seed(index), len(draws.t)
        choice = torch.randint(len(task.objective.rich), (rows,), generator=chance)
        return replace(draws, rich=[task.objective.rich[one] for one in choice], rich_t=draws.t)

    return Trial(recipe, sample_batch)


class FromOutput(StageMapper):
    """Cross Initialization (arXiv 2312.15905): tokens start at what the text encoder makes of the word, with the length
    of the word here, to which they are held."""

    start: Tensor

    def at(self, t: Tensor, picture: Tensor | None = None) -> TokenVectors:
        made = super().at(t, picture)
        offsets = self.head(self.time_feature(t)).unflatten(1, (self.tokens, -1))
        vectors = on_sphere(offsets + on_sphere(self.start, self.word), self.word)
        return replace(made, keys=vectors, values=vectors)

    def exported(self) -> "FromOutput":
        """As it is: a file would not know where it began."""
        return self


@dataclass(frozen=True, kw_only=True)
class CrossInitialized(StageMapperRecipe):
    """PersonaMagic that starts there. start: [D]."""

    start: Tensor

    def representation(self, word: Tensor, images: Tensor | None, widths: tuple[int, ...] = ()) -> FromOutput:
        made = FromOutput(word, self.stages, self.tokens, images, self.learning.seed)
        made.start = self.start
        return made


def cross_initialized(recipe: Recipe) -> Trial:
    clip = models()[1]
    with torch.inference_mode(False), torch.no_grad():
        context = clip.encode_from_tokens(clip.tokenize(f"a photo of a {recipe.supercategory}"))
        start = context[0, 5].clone().float()  # after the start token and four words
    return Trial(CrossInitialized(**attributes(recipe), start=start))


def with_noise_multiplicity(recipe: Recipe, noise_multiplicity: int) -> Recipe:
    """The same with so many noises an example."""

    class Multiplied(type(recipe)):
        def representation(self, *given: object) -> Learnable:
            made = super().representation(*given)
            made.noise_multiplicity = noise_multiplicity
            return made

    return Multiplied(**attributes(recipe))


def apart(recipe: Recipe) -> Trial:
    return Trial(with_noise_multiplicity(recipe, 1))


def paired(recipe: Recipe) -> Trial:
    return Trial(with_noise_multiplicity(recipe, 2))
