"""A step of learning is whole, or none: where it overflows in fp16, or where memory ends within it."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from bench.budget import task_of
from persona_core import training
from persona_core.loss_scale import GROWTH_AFTER, SMALLEST, LossScale
from persona_core.progress import Progress
from persona_core.task import NOISE, TrainingSettings
from persona_core.training import train

FEW = TrainingSettings(steps=4, learning_rate=1e-2, batch_size=2)


def task():
    made, terms = task_of("mapper", (64,), FEW, 0.0, 0), {NOISE: lambda step: (step.vectors.keys - 1).square().mean()}
    return replace(made, objective=replace(made.objective, terms=terms))


def learned(made) -> torch.Tensor:
    return torch.cat([one.detach().flatten() for one in made.representation.parameters()])


def test_the_scale_grows_after_many_steps_and_shrinks_at_once():
    scale, gradient = LossScale(value=8.0), torch.tensor([16.0, 2.0])
    assert scale.unscale([gradient]) and gradient.tolist() == [2.0, 0.25]
    for _ in range(GROWTH_AFTER):
        scale.grow()
    assert scale.value == 16
    assert not scale.unscale([torch.tensor([torch.inf])]) and scale.shrink() and scale.value == 8
    scale.value = SMALLEST / 2
    assert not scale.shrink() and scale.value == SMALLEST / 2


def test_where_nothing_is_scaled_nothing_changes():
    scale, gradient = LossScale(enabled=False), torch.tensor([3.0])
    assert scale.unscale([gradient]) and gradient.item() == 3 and scale.value == 1
    assert not scale.shrink() and scale.value == 1


@pytest.fixture
def undisturbed():
    """Its losses, what it learned, and how many parameters a step moves."""
    made = task()
    losses = train(made).losses
    return losses, learned(made), sum(one.grad is not None for one in made.representation.parameters())


@pytest.mark.parametrize("step", [1, 3, FEW.steps])
def test_a_step_in_which_memory_ends_is_taken_once(monkeypatch, undisturbed, step):
    """It ends in the middle of the parameters, the momentum of some of which has moved by then."""
    made, progress, own = task(), Progress(), torch.Tensor.addcdiv_
    calls, count = SimpleNamespace(done=0), undisturbed[2]

    def addcdiv_(*given, **named):
        calls.done += 1
        if calls.done == count * (step - 1) + count // 2:
            raise torch.OutOfMemoryError("out of memory")
        return own(*given, **named)

    monkeypatch.setattr(torch.Tensor, "addcdiv_", addcdiv_)
    with pytest.raises(torch.OutOfMemoryError):
        train(made, progress)
    assert progress.step == step - 1
    train(made, progress)
    assert progress.losses == undisturbed[0] and torch.equal(learned(made), undisturbed[1])


def test_where_what_is_learned_cannot_be_kept_learning_goes_back_to_what_was(monkeypatch, undisturbed):
    made, progress, kept = task(), Progress(), []
    own = training.snapshot

    def fails(*given):
        if kept:
            raise MemoryError
        kept.append(1)
        return own(*given)

    def stop(progress):
        if progress.step == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(training, "snapshot", fails)
    with pytest.raises(KeyboardInterrupt):
        train(made, progress, stop)
    monkeypatch.setattr(training, "snapshot", own)
    train(made, progress)
    assert progress.losses == undisturbed[0] and torch.equal(learned(made), undisturbed[1])
