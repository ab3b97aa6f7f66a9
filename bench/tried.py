"""What was tried to learn sooner, and is not in the pack: each as a change of how one person is learned."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from unittest.mock import patch

import torch
from torch import Tensor

from bench.rivals import Altered, Variant
from persona_core import training
from persona_core.losses import masked_diffusion_loss
from persona_core.mapper import StageMapper
from persona_core.recipes import Recipe
from persona_core.representation import Learnable, TokenVectors, on_sphere
from persona_core.stages import GRID, Stages
from persona_core.task import Objective, Step, TrainingSettings, TrainingTask
from persona_core.training import Progress
from persona_core.training import forward as plain_forward
from persona_core.training import sample_batch as plain_batch

PARTS = 8  # of the stage, whose mean losses are told apart
LOOK_EVERY, HELD_OUT_ROWS = 10, 8
CLOSE = 0.01  # the weight of staying where learning began
PATIENCE, GAIN = 5, 0.01  # looks without a loss that is lower by this share
NOTHING: Callable[[Progress], None] = lambda progress: None  # noqa: E731


@dataclass
class Trial:
    """How one person is learned: a recipe, what happens after each step, and what is changed in the loop."""

    recipe: Recipe
    on_step: Callable[[Progress], None] = NOTHING
    sample_batch: Callable[..., training.Batch] = training.sample_batch
    forward: Callable[..., Step] = training.forward

    @contextmanager
    def changes(self) -> Iterator[None]:
        with patch.multiple(training, sample_batch=self.sample_batch, forward=self.forward):
            yield


def plain(recipe: Recipe) -> Trial:
    return Trial(recipe)


class Watched(Altered):
    """A recipe that lets one look at the representation while it is learned."""

    def representation(self, word: Tensor, images: Tensor | None, widths: tuple[int, ...] = ()) -> StageMapper:
        made = super().representation(word, images, widths)
        object.__setattr__(self, "made", made)
        return made


def watched(recipe: Recipe, mapper: type[StageMapper] = StageMapper, kind: type[Watched] = Watched) -> Watched:
    return kind(**attributes(recipe), mapper=mapper)


def attributes(one: object) -> dict[str, object]:
    """Of a dataclass, to make another kind of it."""
    return {field.name: getattr(one, field.name) for field in fields(one)}


class Spread(Stages):
    """Timesteps that are spread over the stage: one in each of as many even parts as are drawn at once."""

    def random(self, rows: int, generator: torch.Generator) -> Tensor:
        return self.placed((torch.arange(rows) + torch.rand(rows, generator=generator)) / max(rows, 1))

    def placed(self, place: Tensor) -> Tensor:
        """Timesteps at these places of the stage, in 0..1."""
        span = self.t_hi + 1 - self.t_lo
        return self.t_lo + (place * span).long().clamp(0, span - 1)


def spread(recipe: Recipe) -> Trial:
    return Trial(replace(recipe, stages=Spread(recipe.stages.t_lo, recipe.stages.t_hi)))


def rich_for_each(recipe: Recipe) -> Trial:
    """A rich prompt for each row, as in the published code."""

    def sample_batch(task: TrainingTask, index: int) -> training.Batch:
        draws = plain_batch(task, index)
        chance, rows = torch.Generator().manual_seed(index), len(draws.t)
        choice = torch.randint(len(task.objective.rich), (rows,), generator=chance)
        return replace(draws, rich=[task.objective.rich[one] for one in choice], rich_t=draws.t)

    return Trial(recipe, sample_batch=sample_batch)


class ByLoss(Spread):
    """Timesteps that are the more likely the larger the loss was in their part of the stage."""

    def __init__(self, *ends: int):
        super().__init__(*ends)
        # What is learned of the loss, in a dataclass that is frozen: `parts` are those of the last step's rows.
        vars(self).update(parts=[], sums=torch.zeros(PARTS), counts=torch.zeros(PARTS))

    def random(self, rows: int, generator: torch.Generator) -> Tensor:
        unseen = self.counts == 0
        means = torch.where(unseen, self.sums.sum() / self.counts.sum().clamp(min=1), self.sums / self.counts)
        shares = means / means.sum() if not unseen.all() else torch.full((PARTS,), 1 / PARTS)
        ends = shares.cumsum(0)
        place = ((torch.arange(rows) + torch.rand(rows, generator=generator)) / rows).clamp(max=float(ends[-1]) - 1e-6)
        part = torch.searchsorted(ends, place, right=True)
        inside = 1 - (ends[part] - place) / shares[part]
        if rows > 1:  # not the rich prompt's, which comes after
            self.parts[:] = part.tolist()
        return self.placed((part + inside) / PARTS)


def by_loss(recipe: Recipe) -> Trial:
    stages = ByLoss(recipe.stages.t_lo, recipe.stages.t_hi)

    def on_step(progress: Progress) -> None:
        for part in stages.parts:
            stages.sums[part] += progress.losses["noise"][-1]
            stages.counts[part] += 1

    return Trial(replace(recipe, stages=stages), on_step)


def averaged(recipe: Recipe) -> Trial:
    """The mean of the parameters over the last half of the steps."""
    recipe, seen = watched(recipe), []

    @torch.no_grad()
    def on_step(progress: Progress) -> None:
        parameters = list(recipe.made.parameters())
        if progress.step > recipe.learning.steps / 2:
            seen.append([one.clone() for one in parameters])
        if progress.step == recipe.learning.steps:
            for one, values in zip(parameters, zip(*seen)):
                one.copy_(torch.stack(values).mean(0))

    return Trial(recipe, on_step)


class FromOutput(Variant):
    """Cross Initialization (arXiv 2312.15905): tokens start at what the text encoder makes of the word, with the length
    of the word here, to which they are held."""

    start: Tensor

    def at(self, t: Tensor, picture: Tensor | None = None) -> TokenVectors:
        made = super().at(t, picture)
        offsets = self.head(self.time_feature(t)).unflatten(1, (self.tokens, -1))
        vectors = on_sphere(offsets + on_sphere(self.start, self.word), self.word)
        return replace(made, keys=vectors, values=vectors)


class KeptClose(Watched):
    """A recipe with a loss for how far the tokens are from where they started, as a share of the word's length."""

    def objective(self, word: Callable[[str, str], Tensor]) -> Objective:
        objective, grid = super().objective(word), torch.arange(self.stages.t_lo, self.stages.t_hi + 1, GRID)
        with torch.no_grad():
            start, scale = self.made.at(grid).keys, self.made.word.square().sum()

        def close(step: Step) -> Tensor:
            return CLOSE * ((self.made.at(grid).keys - start).square().sum(-1) / scale).mean()

        return replace(objective, terms={**objective.terms, "close": close})


def kept_close(recipe: Recipe) -> Trial:
    return Trial(watched(recipe, kind=KeptClose))


def cross_initialized(recipe: Recipe, kind: type[Watched] = Watched) -> Trial:
    from .quality import models

    clip = models()[1]
    with torch.inference_mode(False), torch.no_grad():
        context = clip.encode_from_tokens(clip.tokenize(f"a photo of a {recipe.supercategory}"))
        start = context[0, 5].clone().float()  # after the start token and four words
    return Trial(watched(recipe, type("FromOutputOf", (FromOutput,), {"start": start}), kind))


def cross_initialized_and_kept_close(recipe: Recipe) -> Trial:
    return cross_initialized(recipe, KeptClose)


def with_noise_multiplicity(recipe: Recipe, noise_multiplicity: int) -> Recipe:
    """The same with so many noises a look."""

    class Looking(type(recipe)):
        def representation(self, *given: object) -> Learnable:
            made = super().representation(*given)
            made.noise_multiplicity = noise_multiplicity
            return made

    return Looking(**attributes(recipe))


def apart(recipe: Recipe) -> Trial:
    return Trial(with_noise_multiplicity(recipe, 1))


def paired(recipe: Recipe) -> Trial:
    return Trial(with_noise_multiplicity(recipe, 2))


def opposite(recipe: Recipe) -> Trial:
    """Two noises a look, each other's opposite."""

    def sample_batch(task: TrainingTask, index: int) -> training.Batch:
        draws = plain_batch(task, index)
        noise = draws.noise.clone()
        noise[1::2] = -noise[:-1:2]
        return replace(draws, noise=noise)

    return Trial(with_noise_multiplicity(recipe, 2), sample_batch=sample_batch)


class Flat(Exception):
    """A held-out loss falls no more."""


class HeldOut:
    """Looks now and then at the loss of noises and timesteps that are never learned from, and stops when it is flat."""

    def __init__(self):
        self.task, self.losses = None, []

    def forward(self, task: TrainingTask, draws: training.Batch) -> Step:
        self.task = task
        return plain_forward(task, draws)

    @torch.no_grad()
    def on_step(self, progress: Progress) -> None:
        if progress.step % LOOK_EVERY:
            return
        settings = TrainingSettings(batch_size=HELD_OUT_ROWS, bypass_dropout=0.0, seed=-1)
        task = replace(self.task, settings=settings)
        step = plain_forward(task, plain_batch(task, 0))
        self.losses.append(float(masked_diffusion_loss(step)))
        if len(self.losses) > PATIENCE and min(self.losses[-PATIENCE:]) > (1 - GAIN) * min(self.losses[:-PATIENCE]):
            raise Flat


def until_flat(recipe: Recipe) -> Trial:
    held_out = HeldOut()
    return Trial(recipe, held_out.on_step, forward=held_out.forward)
