"""How much is learned: what follows from what is measured of the gradients, and what a learning rate means."""

import math
from dataclasses import replace
from statistics import mean, median
from types import SimpleNamespace

import pytest
import torch
from looks import meter_of

from bench.budget import Pull, cosine, learned, task_of
from persona_core import budget, training
from persona_core.budget import LOOK, USUAL, Budget, MeasuredBudget
from persona_core.progress import LossNotFinite, Progress
from persona_core.recipes import MEASURED, PRESETS, settings_of
from persona_core.task import NOISE, TrainingSettings
from persona_core.training import train


def progress_of(count, signal, again=(0, 0.0), steps=10, seconds=10.0):
    """After so many steps, and a first look of so many pictures, two a step, and a second."""
    return Progress({"noise": [0.0] * steps}, meters=(meter_of(count, signal), meter_of(*again)), seconds=seconds)


BUDGET = MeasuredBudget(MEASURED, reach=100, examples=2)


def test_less_signal_asks_for_more_steps_at_a_lower_rate_up_to_what_is_allowed():
    strong, weak, looking = progress_of(20, 0.5), progress_of(200, 0.1, steps=100), progress_of(LOOK - 1, 0.5)
    assert 20 < BUDGET.steps(strong) < 60 and 500 < BUDGET.steps(weak) < 1500
    assert BUDGET.learning_rate(strong) > 3 * BUDGET.learning_rate(weak) > 0
    assert BUDGET.steps(looking) == MEASURED.steps and BUDGET.learning_rate(looking) == 0  # nothing moves yet
    assert BUDGET.steps(Progress()) == MEASURED.steps
    first = BUDGET.round(weak.meter)
    assert MeasuredBudget(MEASURED, 100, 2, 5, 2.4).round(weak.meter) == pytest.approx(2.4 * first, rel=0.05)
    assert MeasuredBudget(MEASURED, 100, 1).round(weak.meter) == pytest.approx(2 * first, rel=0.05)


def test_it_looks_again_and_goes_on_where_there_is_more_to_learn():
    meter = meter_of(20, 0.5)
    end = meter.steps + BUDGET.round(meter)
    look = BUDGET.second_look(meter)
    for signal, more in ((0.0, 0), (0.5, BUDGET.round(meter_of(2 * look, 0.5))), (0.1, 0)):
        looked = progress_of(20, 0.5, (2 * look, signal), steps=end + look)
        assert BUDGET.look(looked) is None
        assert BUDGET.steps(looked) == pytest.approx(end + look + more, abs=1)
        assert bool(more) == (BUDGET.steps(looked) > looked.step)
    about_to = progress_of(20, 0.5, steps=end)
    assert BUDGET.look(about_to) is about_to.meters[1] and BUDGET.learning_rate(about_to) == 0
    before = progress_of(20, 0.5, steps=end - 1)
    assert BUDGET.look(before) is None and BUDGET.learning_rate(before) > 0
    assert BUDGET.steps(before) == end + look


def test_what_is_learned_after_the_second_look_is_at_most_so_much_more():
    looked = progress_of(20, 0.5, (20, 0.22), steps=500)
    longest = USUAL.longer * BUDGET.round(looked.meter)
    assert BUDGET.second_round(looked) == pytest.approx(longest, rel=0.02) and longest < BUDGET.round(looked.meters[1])


def test_a_second_round_is_as_fast_as_what_is_left_asks_for():
    looked = progress_of(20, 0.5, (40, 0.3))
    began = looked.meter.steps + BUDGET.round(looked.meter)
    first = replace(looked, losses={"noise": [0.0] * looked.meter.steps})
    second = replace(looked, losses={"noise": [0.0] * (began + looked.meters[1].steps)})
    assert 0.4 < BUDGET.learning_rate(second) / BUDGET.learning_rate(first) < 0.9


def second_rounds(signal, directions, seeds=60):
    """How long they are in so many runs, the first being 1. directions: that chance has in pictures."""
    progress, found = progress_of(64, 0.3, steps=500), []
    look = 2 * BUDGET.second_look(progress.meter)
    for seed in range(seeds):
        again = meter_of(look, signal, numbers=directions, seed=seed)
        found.append(BUDGET.second_round(replace(progress, meters=(progress.meter, again))))
    return [one / BUDGET.round(progress.meter) for one in found]


@pytest.mark.parametrize("directions", [5, 50, 512])
def test_where_nothing_is_left_it_goes_on_for_as_long_as_before_at_most(directions):
    """Chance in few directions looks like signal to few pictures, and the other way round."""
    found = second_rounds(0.0, directions)
    assert sum(one > 1 for one in found) < 0.1 * len(found)


def test_it_goes_on_where_as_much_is_left():
    found = second_rounds(0.3, 512)
    assert sum(one > 0.5 for one in found) > 0.9 * len(found)


@pytest.mark.parametrize("batch", [1, 4, 16])
@pytest.mark.parametrize("signal", [1.0, 0.3])
def test_auto_reaches_as_much_with_any_batch_and_few_pictures_more(batch, signal):
    settings = replace(MEASURED, batch_size=batch)
    reached, passes, _ = zip(*(learned("mapper", (256,), settings, signal, seed) for seed in range(7)))
    usual = median(learned("mapper", (256,), MEASURED, signal, seed)[1] for seed in range(7))
    assert min(reached) > 0.93 and median(passes) <= max(1.4 * usual, 10 * batch)


def test_auto_reaches_as_much_with_tokens_that_learn_from_each_other():
    """Each stage's token is moved by pictures of its own first, then by what all have in common."""
    reached, passes, _ = zip(*(learned("kv", (256,), MEASURED, 1.0, seed) for seed in range(5)))
    assert mean(reached) > 0.955 and mean(passes) < 1.5 * 70  # the fewest with which a fixed budget reaches 0.95


@pytest.fixture
def slow(monkeypatch):
    """Sets a clock on which the first step takes so many seconds, and each other one so many."""

    def set_clock(first, others):
        clock, own = SimpleNamespace(now=0.0, took=iter([first])), training.backward
        clock.monotonic = lambda: clock.now

        def backward(part):
            clock.now += next(clock.took, others)
            own(part)

        monkeypatch.setattr(training, "time", clock)
        monkeypatch.setattr(training, "backward", backward)

    return set_clock


@pytest.mark.parametrize("minutes", [3.0, 10.0])
def test_a_look_leaves_most_of_the_minutes_to_learning(minutes, slow):
    slow(8.0, 8.0)
    task = task_of("mapper", (96,), replace(MEASURED, minutes=minutes), 0.1, 0)
    progress = train(task)
    assert not progress.in_time and progress.meter.steps <= 0.3 * progress.step
    assert cosine(task) > 0.05


@pytest.mark.parametrize("seed", range(4))
def test_a_slow_first_step_does_not_decide_what_is_learned(seed, slow):
    slow(15.0, 0.5)
    progress = train(task_of("mapper", (96,), replace(MEASURED, minutes=1.0), 0.1, seed))
    assert progress.meter.count >= LOOK and not progress.in_time
    assert progress.step >= 80  # of the 91 that there is time for


def test_learning_that_has_all_its_steps_is_in_time():
    for minutes in (0.0, 10.0):
        assert train(task_of("mapper", (96,), replace(MEASURED, minutes=minutes), 1.0, 0)).in_time
    assert train(task_of("mapper", (96,), PRESETS["quick"], 1.0, 0)).in_time


def test_a_gradient_that_is_no_number_is_never_stepped():
    """Not in the last step either, and going on from what is kept is as if it had not been."""

    class Broken(Pull):
        def __call__(self, step):
            loss = super().__call__(step)
            loss.register_hook(lambda gradient: gradient * math.nan)
            return loss

    kept = {}
    task = task_of("mapper", (96,), TrainingSettings(steps=1), 1.0, 0)
    broken = replace(
        task, objective=replace(task.objective, terms={NOISE: Broken(**vars(task.objective.terms[NOISE]))})
    )
    with pytest.raises(LossNotFinite, match="gradient is not finite at step 1"):
        train(broken, save=lambda progress: kept.update(progress.tensors))
    assert all(value.isfinite().all() for value in kept.values())


def test_the_minutes_bind_once_the_speed_is_known():
    weak, hurried = progress_of(200, 0.1), MeasuredBudget(replace(MEASURED, minutes=1.0), 100, 2)
    assert hurried.steps(weak) == 60  # one second a step
    strong = progress_of(20, 0.5)
    assert hurried.steps(strong) == BUDGET.steps(strong)
    begun = progress_of(200, 0.1, steps=1, seconds=5.0)  # the first step is slow, and nobody knows yet
    assert hurried.steps(begun) == BUDGET.steps(begun)


def test_the_rate_falls_to_nothing_whoever_chose_it():
    for settings in (MEASURED, replace(MEASURED, learning_rate=0.5)):
        budget, steps = MeasuredBudget(settings, 100, 2), BUDGET.round(meter_of(100, 0.2))
        half, rates = steps // 2, []
        for done in (0, half, steps - 1):
            rates.append(budget.learning_rate(progress_of(100, 0.2, steps=50 + done)))
        assert rates[1] == pytest.approx(rates[0] / 2, rel=0.02) and rates[2] == pytest.approx(rates[0] / steps)
    assert rates[0] == 0.5


def test_a_rate_of_ones_own_scales_the_presets_schedule():
    balanced = PRESETS["balanced"]
    own = settings_of("balanced", 0, learning_rate=1e-5)
    usual = [balanced.learning_rate_at(index) for index in range(balanced.steps)]
    assert [own.learning_rate_at(index) for index in range(own.steps)] == pytest.approx(
        [rate * 1e-5 / balanced.learning_rate for rate in usual]
    )


def test_steps_of_ones_own_leave_nothing_to_measure():
    own = settings_of("auto", 3, steps=100, minutes=5)
    assert own == replace(PRESETS["balanced"], steps=100, seed=3) and type(Budget(own).steps(Progress())) is int
    assert settings_of("auto", 3, minutes=5) == replace(MEASURED, seed=3, minutes=5)


@pytest.mark.parametrize("widths", [(64,), (768,), (768, 1280), (4096,)])
def test_the_first_step_turns_a_token_as_far_in_every_text_encoder(widths):
    """By noise alone, at the published rate: as far as the published mapper turns."""
    task = task_of("mapper", widths, TrainingSettings(steps=1), signal=0.0, seed=0)
    train(task)
    word = task.representation.word
    for token in task.representation.at(torch.tensor([500.0])).keys[0].detach():
        for part, start in zip(token.split(widths), word.split(widths)):
            angle = math.degrees(math.acos(torch.cosine_similarity(part, start, dim=0).clamp(max=1)))
            assert 2 < angle < 4


def test_what_is_saved_is_what_was_learned():
    task = task_of("mapper", (64, 96), TrainingSettings(steps=3, learning_rate=1e-3), 0.3, 0)
    train(task)
    t = torch.tensor([450.0, 700.0])
    one, other = (made.at(t) for made in (task.representation, task.representation.exported()))
    torch.testing.assert_close(one.keys, other.keys)
    torch.testing.assert_close(one.bypass, other.bypass)


@pytest.mark.parametrize(("signal", "most"), [(1.0, 33), (0.3, 204)])
def test_auto_learns_as_long_as_the_signal_asks_for_and_no_longer(signal, most):
    reached, passes, measured = learned("mapper", (768,), MEASURED, signal)
    assert reached > 0.945 and passes <= most and measured == pytest.approx(signal, rel=0.1)


class SameEachTime(Pull):
    """Whose chance is that of the step's own noise."""

    def __call__(self, step):
        self.chance.manual_seed(int(step.target.sum().abs() * 1e6))
        return super().__call__(step)


def repeatable():
    made = task_of("mapper", (96,), MEASURED, 1.0, 0)
    pull = SameEachTime(**vars(made.objective.terms[NOISE]))
    return replace(made, objective=replace(made.objective, terms={NOISE: pull}))


class Stop(Exception):
    pass


@pytest.mark.parametrize("after", [2, 9, 15, 20])
def test_stopped_in_a_look_or_a_round_it_goes_on_as_if_it_had_not_been(after, monkeypatch):
    monkeypatch.setattr(budget, "MORE", 0.0)  # so that there is a second round
    whole, kept = repeatable(), {}
    steps = train(whole).step

    def stop(progress):
        if progress.step == after:
            raise Stop

    with pytest.raises(Stop):
        train(repeatable(), on_step=stop, save=lambda progress: kept.update(it=progress))
    first, second = kept["it"].meters
    told = {2: first.steps == 2, 9: second.steps == 0, 15: 0 < second.steps < 3, 20: second.steps >= 2}
    assert told[after] and steps > 20
    again = repeatable()
    assert train(again, Progress(kept["it"].losses, kept["it"].tensors)).step == steps
    for one, other in zip(whole.representation.parameters(), again.representation.parameters(), strict=True):
        torch.testing.assert_close(one, other)


def test_luck_decides_little_of_what_auto_learns():
    """Of two seeds, whose pictures' noise has nothing in common."""
    moved = []
    for seed in (1, 2):
        task = task_of("mapper", (768,), replace(MEASURED, seed=seed), 0.3, 0)
        task.objective.terms[NOISE].chance.manual_seed(100 + seed)
        train(task)
        moved.append((task.representation.at(torch.tensor([600.0])).keys - task.representation.word).detach().flatten())
    assert torch.cosine_similarity(*moved, dim=0) > 0.88


def test_a_quick_run_learns_mostly_noise_where_the_signal_is_weak():
    """What the measured budget is there for."""
    quick, *_ = learned("mapper", (768,), PRESETS["quick"], 0.12)
    assert quick < 0.7
