"""What a step keeps, and how it is made to fit."""

import math
import random
from dataclasses import replace

import pytest
import torch
from fitting import kept_by_a_step, opened, weights_of
from jobs import alike, moved, noise
from torch import nn

from persona_core.host.learn.memory import (
    REST,
    Fit,
    NoRoom,
    fit,
    fit_into_memory,
    gradient_checkpointing,
    layers_of,
    saved_by_row,
)
from persona_core.recipes import KVTokensRecipe, StageMapperRecipe
from persona_core.task import TrainingSettings
from persona_core.training import train


@pytest.mark.parametrize("dtype, cells", [(torch.float32, 1), (torch.bfloat16, 1), (torch.bfloat16, math.inf)])
@pytest.mark.parametrize("recipe", [StageMapperRecipe(), KVTokensRecipe(), StageMapperRecipe(attention_weight=3e-3)])
def test_what_a_row_keeps_is_told_from_smaller_ones(model, clip, recipe, dtype, cells):
    model = model.clone()
    model.set_model_compute_dtype(dtype)
    for size in ((32, 32), (40, 56)):
        with opened(model, clip, recipe, size, cells) as task:
            layers, weights = layers_of(model.model.diffusion_model), weights_of(model, clip.patcher)
            real, told = kept_by_a_step(task, layers, weights), saved_by_row(task, weights)
            # The first layer comes before the context, so autograd passes it by.
            assert {key for key, size in real.items() if size} == {REST, *layers[1:]}
            assert sum(told.values()) == pytest.approx(sum(real.values()), rel=0.05)
            assert all(told[key] == pytest.approx(real[key], rel=0.05, abs=2**14) for key in real)


@pytest.mark.parametrize("recipe", [StageMapperRecipe(), KVTokensRecipe()])
def test_layers_computed_twice_keep_less(model, clip, recipe):
    with opened(model, clip, recipe, (16, 16)) as task:
        layers, weights = layers_of(model.model.diffusion_model), weights_of(model, clip.patcher)
        usual = kept_by_a_step(task, layers, weights)
        with gradient_checkpointing(layers):
            less = kept_by_a_step(task, layers, weights)
        half = layers[::2]
        with gradient_checkpointing(half):
            between = kept_by_a_step(task, layers, weights)
    assert sum(less[layer] for layer in layers) < 0.15 * sum(usual[layer] for layer in layers)  # their inputs
    assert sum(less.values()) < sum(between.values()) < sum(usual.values())
    assert all(between[layer] == usual[layer] > 0 for layer in layers[1::2])


def step_of(layers_keep: list[float], rest: float):
    layers = [nn.Identity() for _ in layers_keep]
    return layers, {REST: rest, **dict(zip(layers, layers_keep))}


def needed(kept, fitted: Fit) -> float:
    """Bytes of the rows at once, where layers that are computed twice need theirs one after the other."""
    twice = [kept[layer] for layer in fitted.checkpointed]
    return fitted.micro_batch * (sum(kept.values()) - sum(twice) + max(twice, default=0))


def test_where_everything_has_room_nothing_is_computed_twice():
    layers, kept = step_of([30, 20, 10], 40)
    assert fit(kept, 4, 400) == fit(kept, 4, 1e9) == Fit(4, frozenset())


def test_with_less_room_the_largest_layers_are_computed_twice_and_no_more():
    (small, large, middle, least), kept = step_of([20, 50, 30, 10], 40)
    assert fit(kept, 2, 299) == fit(kept, 2, 240) == Fit(2, frozenset({large, middle}))
    assert fit(kept, 2, 239) == fit(kept, 2, 200) == Fit(2, frozenset({large, middle, small}))
    assert fit(kept, 2, 199) == fit(kept, 2, 180) == Fit(2, frozenset({large, middle, small, least}))


def test_with_still_less_room_fewer_rows_are_looked_at_at_once():
    layers, kept = step_of([20, 50, 30, 10], 40)
    every = frozenset(layers)
    assert fit(kept, 8, 8 * 90) == Fit(8, every) and fit(kept, 8, 8 * 90 - 1).micro_batch == 4
    assert fit(kept, 8, 4 * 150) == Fit(4, frozenset())  # all rows are too many even with every layer computed twice
    assert fit(kept, 3, 3 * 90 - 1).micro_batch == 1
    assert fit(kept, 8, 90) == Fit(1, every)


@pytest.mark.parametrize("room", [89, 1, 0, -1e9])
def test_where_nothing_fits_the_least_is_tried(room):
    layers, kept = step_of([20, 50, 30, 10], 40)
    assert fit(kept, 8, room) == Fit(1, frozenset(layers))


def test_what_is_chosen_has_room_and_what_is_faster_has_none():
    chance = random.Random(0)
    for _ in range(500):
        layers, kept = step_of([chance.choice((0, 1, 2, 5, 40)) for _ in range(chance.randint(1, 8))], chance.random())
        rows, room = chance.randint(1, 9), chance.uniform(-1, 400)
        fitted = fit(kept, rows, room)
        choice = [rows >> halvings for halvings in range(rows.bit_length())]
        assert fitted.micro_batch in choice
        assert needed(kept, fitted) <= room or fitted == Fit(1, frozenset(layers))
        order = sorted(layers, key=kept.get, reverse=True)
        fewer = Fit(fitted.micro_batch, frozenset(order[: len(fitted.checkpointed) - 1]))
        assert not fitted.checkpointed or needed(kept, fewer) > room
        more = [one for one in choice if one > fitted.micro_batch]
        assert all(needed(kept, Fit(one, frozenset(layers))) > room for one in more)


def test_weights_stay_off_the_device_only_where_nothing_else_helps():
    """As few as can be, and all rows at once, as each part of a step brings them anew."""
    (small, large, middle, least), kept = step_of([20, 50, 30, 10], 40)
    every, sizes = frozenset([small, large, middle, least]), {small: 100, large: 300, middle: 200, least: 100}
    assert fit(kept, 2, 700 + 300, sizes) == Fit(2, frozenset())
    assert fit(kept, 2, 700 + 180, sizes) == Fit(2, every)
    assert fit(kept, 2, 700 + 90, sizes) == Fit(1, every)
    # The first that is lent has a place for its turn, where the next ones have theirs.
    assert fit(kept, 2, 700 + 89, sizes) == Fit(2, every, frozenset({large, middle}))
    assert fit(kept, 2, 500 + 179, sizes) == Fit(2, every, frozenset({large, middle, small}))
    assert fit(kept, 2, 300 + 180, sizes) == Fit(2, every, every)
    assert fit(kept, 2, 300 + 90, sizes) == fit(kept, 2, 0, sizes) == Fit(1, every, every)


def test_where_there_is_another_way_nothing_is_tried_that_does_not_fit(model, clip, free):
    with opened(model, clip, StageMapperRecipe(), (32, 32)) as task:
        for size, last in ((0, False), (0, True), (2**40, False)):
            free(size)
            if size or last:
                assert fit_into_memory(task, (model, clip.patcher), (), last)[0].micro_batch >= 1
            else:
                with pytest.raises(NoRoom):
                    fit_into_memory(task, (model, clip.patcher), (), last)


# Weights that make every term count in a tiny UNet.
ATTENTION = KVTokensRecipe(attention_weight=1e6, learning=TrainingSettings(4, 5e-3, 5, weight_decay=0.0, seed=5))
RECIPES = [
    StageMapperRecipe(te_weight=10.0, learning=TrainingSettings(4, 1e-3, 3, seed=5)),
    replace(ATTENTION, te_weight=10.0),
    replace(ATTENTION, attention_tokens="the placeholder only", attention_weight=1e5),
    replace(ATTENTION, attention_tokens="the prompt's tokens"),
]


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_row_at_a_time_learns_the_same(model, clip, recipe):
    found, losses = [], []
    for micro_batch in (None, 3, 2, 1):
        with opened(model, clip, recipe) as task:
            with torch.no_grad():  # at the word itself, the attention loss is nothing but rounding
                for number, parameter in enumerate(task.representation.parameters()):
                    parameter += 1e-2 * noise(*parameter.shape, seed=number)
            start = {name: value.clone() for name, value in task.representation.state_dict().items()}
            losses.append(train(task, micro_batch=micro_batch).losses)
            found.append(moved(task.representation, start))
    for few, told in zip(found[1:], losses[1:]):
        assert alike(found[0], few)
        assert {name: pytest.approx(values, rel=1e-3) for name, values in losses[0].items()} == told
