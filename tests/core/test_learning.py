"""What chance decides in a step, and how presets and their settings combine."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from persona_core.learning import LearningSettings, Objective, Problem, References, draw, spread_timesteps
from persona_core.presets import DEFAULT, PRESETS, settings_of
from persona_core.stages import Stages

STAGES = Stages(400, 800)
REFERENCES = References(torch.zeros(3, 4, 2, 2), torch.ones(3, 1, 2, 2))
OBJECTIVE = Objective({}, ["a {}", "the {}", "one {}"], ["{} reads", "{} runs"])


def drawn(index=0, objective=OBJECTIVE, **settings):
    seen = SimpleNamespace(stages=STAGES)
    return draw(Problem(seen, REFERENCES, None, None, objective, LearningSettings(**settings)), index)


def test_a_step_sees_each_part_of_the_stage_and_all_of_it_in_time():
    seen = torch.stack([spread_timesteps(STAGES, 4, torch.Generator().manual_seed(seed)) for seed in range(4000)])
    for part in range(4):
        low, high = 400 + 401 * part / 4, 400 + 401 * (part + 1) / 4
        assert ((seen[:, part] >= int(low)) & (seen[:, part] < high)).all()
    counts = torch.bincount(seen.flatten() - 400, minlength=401)
    assert len(counts) == 401 and counts.min() > 10 and counts.max() < 90  # 40 each, on average
    assert spread_timesteps(STAGES, 0, torch.Generator()).shape == (0,)


def test_draws_are_those_of_seed_and_step_and_no_others():
    one, same = drawn(3, seed=1), drawn(3, seed=1)
    assert torch.equal(one.noise, same.noise) and one.prompts == same.prompts and torch.equal(one.t, same.t)
    for other in (drawn(4, seed=1), drawn(3, seed=2)):
        assert not torch.equal(one.noise, other.noise)


def test_half_of_the_bypasses_are_kept():
    kept = torch.cat([drawn(index, batch_size=4).bypass for index in range(200)])
    assert 320 < kept.sum() < 480
    assert not drawn(bypass_dropout=1.0).bypass.any() and drawn(bypass_dropout=0.0).bypass.all()


def test_one_rich_prompt_goes_with_a_step_of_any_size_and_with_all_its_parts():
    for rows in (1, 2, 5):
        draws = drawn(batch_size=rows)
        assert len(draws.rich) == 1 and draws.rich_t.shape == (1,) and 400 <= int(draws.rich_t) <= 800
    assert not drawn(objective=Objective({}, ["a {}"])).rich
    parts = list(draws.split(2))
    assert [len(part.t) for part in parts] == [2, 2, 1]
    assert all(part.rich == draws.rich and torch.equal(part.rich_t, draws.rich_t) for part in parts)
    for name in ("picture", "t", "noise", "bypass"):
        assert torch.equal(torch.cat([getattr(part, name) for part in parts]), getattr(draws, name)), name
    assert [prompt for part in parts for prompt in part.prompts] == draws.prompts


def test_a_falling_rate_falls_evenly_to_nothing():
    steady, falling = LearningSettings(10, 0.5), LearningSettings(10, 0.5, decay=True)
    assert {steady.rate(index) for index in range(10)} == {0.5}
    assert [falling.rate(index) for index in range(10)] == pytest.approx([0.5 - 0.05 * index for index in range(10)])


def test_a_rate_that_warms_up_rises_evenly_and_then_is_the_usual_one():
    for usual in (LearningSettings(10, 0.5), LearningSettings(10, 0.5, decay=True)):
        warm = replace(usual, warmup=4)
        shares = [warm.rate(index) / usual.rate(index) for index in range(10)]
        assert shares == pytest.approx([0.25, 0.5, 0.75, 1, 1, 1, 1, 1, 1, 1])


def test_published_is_the_papers_recipe():
    assert PRESETS["published"] == LearningSettings(1000, 1e-4, 2)  # section 4.1
    quick = PRESETS["quick"]
    assert quick.steps * quick.batch_size <= 60
    assert DEFAULT == "balanced"


@pytest.mark.parametrize("preset", PRESETS)
def test_what_is_not_zero_comes_before_the_preset(preset):
    chosen = settings_of(preset, seed=7)
    assert chosen == replace(PRESETS[preset], seed=7)
    assert settings_of(preset, 0, steps=5).steps == 5 and settings_of(preset, 0, batch_size=3).batch_size == 3
    for steps in (1, 3, 12, 500):
        assert settings_of(preset, 0, steps=steps).warmup == min(PRESETS[preset].warmup, steps // 3)
    own = settings_of(preset, 0, steps=1000, learning_rate=1e-4, batch_size=2)
    assert own == LearningSettings(1000, 1e-4, 2)  # a graph from before there were presets learns as it did
