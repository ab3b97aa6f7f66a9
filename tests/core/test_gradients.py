"""What each loss term asks of the tokens is measured apart, and weights may be relative to what the photo asks for."""

from dataclasses import replace

import pytest
import torch

from bench.budget import task_of
from persona_core.budget import LOOK
from persona_core.gradients import TokenGradients
from persona_core.recipes import MEASURED, RELATIVE, StageMapperRecipe
from persona_core.signal_meter import SignalMeter
from persona_core.task import NOISE, TrainingSettings
from persona_core.training import accumulate, factors_of, sample_batch, train

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


def looked_at(task, rows, scale=1.0):
    watch = TokenGradients(task, scale, {})
    scaler = torch.amp.GradScaler("cpu", init_scale=scale, enabled=scale != 1)
    scaler.scale(torch.zeros(()))
    accumulate(task, sample_batch(task, 0).split(rows), scaler, watch=watch)
    return watch


@pytest.mark.parametrize("rows, scale", [(4, 1.0), (3, 1.0), (4, 1024.0)])
def test_the_photo_is_told_apart_from_what_else_is_asked_for(rows, scale):
    """In one part or in several, whatever the loss is multiplied by for fp16."""
    settings = replace(MEASURED, batch_size=4)
    alone, beside = (looked_at(task(length, settings=settings), rows, scale) for length in (0.0, 30.0))
    torch.testing.assert_close(alone.examples, beside.examples, rtol=1e-3, atol=1e-4)
    assert alone.lengths.keys() == {NOISE} and beside.lengths["aside"] == pytest.approx(30, rel=1e-3)
    assert beside.lengths[NOISE] == pytest.approx(alone.lengths[NOISE], rel=1e-3)
    assert alone.examples.norm(dim=1).mean() == pytest.approx((1 + SIGNAL**2) ** 0.5, rel=0.1)


def test_pictures_count_as_if_each_were_alone():
    """However many a step has: two pictures' mean is shorter than each."""
    for size in (2, 8):
        meter = train(task(settings=TrainingSettings(steps=16, batch_size=size, learning_rate=0.0))).meter
        assert LOOK <= meter.count < LOOK + size and meter.signal_to_noise == pytest.approx(SIGNAL, rel=0.15)


def test_what_else_is_asked_for_does_not_count_as_signal():
    alone, beside = (train(task(length, settings=replace(MEASURED, steps=8))).meter for length in (0.0, 10.0))
    assert beside.signal_to_noise == pytest.approx(alone.signal_to_noise, rel=1e-3)
    assert alone.ratios == {} and beside.ratios["aside"] > 5


@pytest.mark.parametrize("length", [1e-3, 1.0, 1e3])
def test_a_relative_weight_means_the_same_whatever_the_loss_is_measured_in(length):
    meter = train(task(length, {"aside": 0.3}, replace(MEASURED, steps=8))).meter
    assert factors_of({"aside": 0.3}, meter)["aside"] * meter.ratios["aside"] == pytest.approx(0.3)
    once = train(task(length, {"aside": 0.3})).losses["aside"][-1]
    assert once == pytest.approx(train(task(1.0, {"aside": 0.3})).losses["aside"][-1], rel=1e-2)


def test_nothing_is_added_before_its_pull_is_known():
    assert factors_of({"aside": 0.3}, SignalMeter()) == {"aside": 0.0}
    assert factors_of({}, SignalMeter()) == {}


def test_ratios_are_kept_for_going_on_later():
    meter = train(task(10.0, settings=replace(MEASURED, steps=8))).meter
    assert SignalMeter.of(meter.tensors()).ratios == meter.ratios != {}


def test_a_recipe_says_which_weights_are_relative():
    recipe = StageMapperRecipe(te_weight=0.1, attention_weight=0.2, context_weight=0.3)
    word = lambda word, called: torch.ones(8)  # noqa: E731
    assert not recipe.objective(word).relative
    wanted = {"equilibrium": 0.1, "attention": 0.2, "context": 0.3}
    assert replace(recipe, weights=RELATIVE).objective(word).relative == wanted
