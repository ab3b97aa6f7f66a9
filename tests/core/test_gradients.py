"""What each loss term asks of the tokens is measured apart, and weights may be relative to what the photo asks for."""

import math
from dataclasses import replace

import pytest
import torch

from bench.budget import Pull, cosine, in_spreads, task_of
from persona_core.budget import LOOK
from persona_core.gradients import TokenGradients
from persona_core.loss_scale import LossScale
from persona_core.progress import Progress
from persona_core.recipes import MEASURED, PRESETS, RELATIVE, StageMapperRecipe
from persona_core.task import NOISE, TrainingSettings
from persona_core.training import Learning, backward, parts, train

SIGNAL = 0.5


class Aside:
    """A loss whose gradient at all tokens together is so long, in spreads of the word, whatever the picture."""

    def __init__(self, length, unit):
        self.length, self.unit = length, unit

    def __call__(self, step):
        tokens = step.vectors.keys / self.unit
        return self.length * tokens[..., 0].sum(1).mean() / tokens.shape[1] ** 0.5


def task(length=0.0, relative=None, settings=MEASURED, seed=0):
    made = task_of("mapper", (256,), settings, SIGNAL, seed)
    pull = made.objective.terms[NOISE]
    terms = {NOISE: pull} | ({"aside": Aside(length, pull.unit)} if length else {})
    return replace(made, objective=replace(made.objective, terms=terms, relative=relative or {}))


def looked_at(task, rows, scale=1.0, photo=0.0, pulls=None):
    one = Learning(task, scale=LossScale(value=scale))
    batch = one.begin()
    one.watch = TokenGradients(task, scale, photo, pulls or {})
    for part in parts([(one, batch)], rows):
        backward(part)
    one.watch.finish()
    return one.watch


def asked(length, relative, photo):
    """How hard a loss of a relative weight pulls at the head's bias, beside the loss that it is alone."""
    grads = []
    for one, weight in ((0.0, {}), (length, relative), (1.0, {})):
        made = task(one, weight)
        looked_at(made, 2, photo=photo)
        grads.append(made.representation.head.bias.grad)
    without, with_it, alone = grads
    return ((with_it - without).norm() / (alone - without).norm()).item()


@pytest.mark.parametrize("rows, scale", [(4, 1.0), (3, 1.0), (4, 1024.0)])
def test_the_photo_is_told_apart_from_what_else_is_asked_for(rows, scale):
    """In one part or in several, whatever the loss is multiplied by for fp16."""
    settings = replace(MEASURED, batch_size=4)
    alone, beside = (looked_at(task(length, settings=settings), rows, scale) for length in (0.0, 30.0))
    torch.testing.assert_close(alone.examples, beside.examples, rtol=1e-3, atol=1e-4)
    assert not alone.pulls and beside.pulls["aside"] == pytest.approx(30, rel=1e-3)
    assert alone.examples.norm(dim=1).mean() == pytest.approx((1 + SIGNAL**2) ** 0.5, rel=0.1)


def test_pictures_count_as_if_each_were_alone():
    """However many a step has: two pictures' mean is shorter than each. Of K/V tokens, four rows are two pictures."""
    for kind, size, rel in (("mapper", 2, 0.15), ("mapper", 8, 0.15), ("kv", 2, 0.3), ("kv", 4, 0.3), ("kv", 5, 0.3)):
        meter = train(
            task_of(kind, (256,), TrainingSettings(steps=16, batch_size=size, learning_rate=0.0), SIGNAL, 0)
        ).meter
        assert LOOK <= meter.count < LOOK + size and meter.signal_to_noise == pytest.approx(SIGNAL, rel=rel)
        assert meter.pull == pytest.approx(SIGNAL, rel=rel)


def test_what_else_is_asked_for_does_not_count_as_signal():
    alone, beside = (train(task(length, settings=replace(MEASURED, steps=8))) for length in (0.0, 10.0))
    assert beside.meter.signal_to_noise == pytest.approx(alone.meter.signal_to_noise, rel=1e-3)
    assert alone.pulls == {} and beside.pulls["aside"] == pytest.approx(10, rel=1e-3)


@pytest.mark.parametrize("length", [1e-3, 1.0, 1e3])
def test_a_relative_weight_means_the_same_whatever_the_loss_is_measured_in(length):
    assert asked(length, {"aside": 0.3}, photo=0.5) == pytest.approx(0.3 * 0.5, rel=1e-2)
    tokens = [train(task(one, {"aside": 0.3})).tensors["parameter.head.weight"] for one in (length, 1.0)]
    torch.testing.assert_close(*tokens, rtol=2e-2, atol=1e-5)


class OfEachRow(Aside):
    """A loss whose rows pull in different directions, so that many rows together pull less hard than each."""

    def __call__(self, step):
        tokens = (step.vectors.keys / self.unit).flatten(1)
        chance = [
            torch.randn(len(row), generator=torch.Generator().manual_seed(int(seed)))
            for row, seed in zip(tokens, step.target.abs().sum((1, 2, 3)) * 1e6)
        ]
        return self.length * (tokens * torch.stack(chance)).sum(1).mean()


def test_a_relative_weight_means_the_same_however_many_rows_fit_into_memory():
    heads = []
    for rows in (4, 1):
        made = task(1.0, {"aside": 0.3}, replace(MEASURED, steps=10, batch_size=4))
        pull = made.objective.terms[NOISE]
        terms = {NOISE: Still(**vars(pull)), "aside": OfEachRow(1.0, pull.unit)}
        made = replace(made, objective=replace(made.objective, terms=terms))
        train(made, micro_batch=rows)
        heads.append(made.representation.head.bias.detach())
    torch.testing.assert_close(*heads, rtol=1e-3, atol=1e-5)


class Still(Pull):
    """Whose chance is that of each row's own noise."""

    def __call__(self, step):
        tokens = in_spreads(step.vectors, self.unit)
        return -self.signal * (tokens * (self.person - self.start)).sum() / len(tokens)


class FromTheWord:
    """A loss that draws the tokens back to the word, as those do that keep what the word had: nothing at the word."""

    def __init__(self, start, unit):
        self.start, self.unit = start, unit

    def __call__(self, step):
        return ((step.vectors.keys - self.start) / self.unit).square().sum((1, 2)).mean()


def distance(task):
    """How far the tokens went from the word."""
    return (task.representation.at(torch.tensor([600.0])).keys - task.representation.word).norm().item()


@pytest.mark.parametrize("settings", [MEASURED, PRESETS["balanced"]])
def test_a_loss_that_begins_at_nothing_does_not_drown_the_photo(settings):
    made = task(settings=settings)
    pull = made.objective.terms[NOISE]
    terms = {**made.objective.terms, "back": FromTheWord(made.representation.word, pull.unit)}
    beside = replace(made, objective=replace(made.objective, terms=terms, relative={"back": 0.1}))
    for one in (alone := task(settings=settings), beside):
        train(one)
    told = [cosine(one) for one in (alone, beside)]
    far = [distance(one) for one in (alone, beside)]
    assert told[0] > 0.8 and told[1] > told[0] - 0.1 and far[1] < 0.97 * far[0]


def test_an_overflow_in_a_loss_beside_is_tried_again_with_half_the_scale():
    made = task(1.0, {"aside": 0.3}, replace(MEASURED, steps=4))
    scale = LossScale(value=2.0**127)
    progress = train(made, scale=scale)
    assert progress.step == 4 and scale.value < 2.0**127
    assert all(map(math.isfinite, progress.pulls.values())) and math.isfinite(progress.meter.signal)


def test_nothing_is_added_before_the_photos_pull_is_known():
    assert asked(1.0, {"aside": 0.3}, photo=0.0) == pytest.approx(0.0, abs=1e-6)


def test_the_pull_of_a_loss_that_begins_at_nothing_is_told_of_the_end():
    made = task(settings=PRESETS["balanced"])
    pull = made.objective.terms[NOISE]
    terms = {**made.objective.terms, "back": FromTheWord(made.representation.word, pull.unit)}
    made = replace(made, objective=replace(made.objective, terms=terms))
    progress = train(made)
    assert progress.pulls["back"] > 0.3 * 2 * distance(made) / pull.unit.mean().item()


def test_pulls_are_kept_for_going_on_later():
    whole = task(10.0, {"aside": 0.3}, replace(MEASURED, steps=8))
    progress, again = train(whole), task(10.0, {"aside": 0.3}, replace(MEASURED, steps=8))
    assert train(again, Progress(progress.losses, progress.tensors)).pulls == progress.pulls != {}


def test_a_recipe_says_which_weights_are_relative():
    recipe = StageMapperRecipe(te_weight=0.1, attention_weight=0.2, context_weight=0.3)
    word = lambda word, called: torch.ones(8)  # noqa: E731
    assert not recipe.objective(word).relative
    wanted = {"equilibrium": 0.1, "attention": 0.2, "context": 0.3}
    assert replace(recipe, weights=RELATIVE).objective(word).relative == wanted
