"""Learning through a flow-matching transformer in the memory there is, and with weights in 8 bits."""

from dataclasses import replace

import pytest
import quantized
import tiny_models
import torch
from fitting import kept_by_a_step, opened, weights_of
from jobs import alike, learned, moved, noise, own_forwards, tensors

from persona_core.host.learn import in_memory
from persona_core.host.learn.autograd import differentiable
from persona_core.host.learn.frozen import frozen
from persona_core.host.learn.memory import REST, Fit, gradient_checkpointing, layers_of, saved_by_row
from persona_core.host.model import attends_jointly
from persona_core.recipes import StageMapperRecipe
from persona_core.stages import Stages

RECIPE = StageMapperRecipe(stages=Stages(538, 836))


@pytest.fixture(scope="module", params=tiny_models.FLOWS)
def family(request):
    return request.param


def gradients(patcher, layers=()):
    """A pass of rows whose texts have two lengths: its prediction, and the gradient to the context."""
    with differentiable(patcher), gradient_checkpointing(layers):
        context = noise(3, 20, 64, seed=1)
        context[1, 12:] = 0
        context.requires_grad_()
        prediction = frozen(patcher).predict(noise(3, 4, 8, 8), torch.tensor([600.0, 700.0, 800.0]), context, context)
        prediction.square().mean().backward()
    return prediction.detach(), context.grad


def test_layers_computed_twice_give_the_same_prediction_and_gradient():
    model = tiny_models.z_image()
    layers, calls = layers_of(model.model.diffusion_model), []
    once = gradients(model)
    hooks = [one.attention.qkv.register_forward_hook(lambda *_: calls.append(1)) for one in layers]
    twice = gradients(model, layers)
    for hook in hooks:
        hook.remove()
    # Rows of two lengths are two passes; that of the picture alone, before the text comes in, is not computed again.
    assert len(layers) == 4 and len(calls) == 2 * (len(layers) + len(layers) - 1)
    assert not own_forwards(model)
    for one, other in zip(once, twice, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6 * float(one.abs().max()))


def test_what_a_row_keeps_is_told_from_smaller_ones(model, clip):
    for size in ((32, 32), (40, 56)):
        with opened(model, clip, RECIPE, size) as task:
            prompts, rich = (sorted(those, key=len)[-1:] for those in (task.objective.prompts, task.objective.rich))
            task = replace(task, objective=replace(task.objective, prompts=prompts, rich=rich))  # the longest, as told
            layers, weights = layers_of(model.model.diffusion_model), weights_of(model, clip.patcher)
            real, told = kept_by_a_step(task, layers, weights), saved_by_row(task, weights)
            silent = attends_jointly(model)  # its layer of the picture alone keeps nothing
            assert real[REST] and sum(bool(real[layer]) for layer in layers) == len(layers) - silent
            assert sum(told.values()) == pytest.approx(sum(real.values()), rel=0.05)


@pytest.mark.parametrize("rows", [1, 3])
def test_some_rows_at_once_learn_the_same(job, model, clip, tmp_path, rows, monkeypatch):
    """Where memory is short, and with every layer computed twice."""
    recipe = replace(RECIPE, resolution=64, learning=replace(job.recipe.learning, steps=4, batch_size=3))
    job = replace(job, model=model, clip=clip, recipe=recipe)
    whole = learned(job, tmp_path, name="whole")
    fit = Fit(rows, frozenset(layers_of(model.model.diffusion_model)))
    monkeypatch.setattr(in_memory, "fit_into_memory", lambda *_: (fit, 1e9))
    parts = learned(job, tmp_path, name="parts")
    assert whole.losses["noise"] == pytest.approx(parts.losses["noise"], rel=1e-4)
    with torch.no_grad():  # Adam makes much of gradients that are next to nothing: of what is read, not of each weight
        one, other = (each.representation.at(torch.tensor([550.0, 700.0])) for each in (whole, parts))
    far = (one.keys - whole.representation.word).norm()
    assert far > 0 and (one.keys - other.keys).norm() < 0.02 * far


@pytest.mark.parametrize("kind", ["packed", "fp8"])
def test_quantized_weights_teach_what_the_same_numbers_in_ordinary_layers_do(kind, job, family, clip, tmp_path):
    plain = getattr(tiny_models, family)
    model = quantized.model(kind, plain)
    recipe = replace(RECIPE, resolution=64, learning=replace(job.recipe.learning, steps=4))
    job = replace(job, model=model, clip=clip, recipe=recipe)
    short = replace(recipe, learning=replace(recipe.learning, steps=1, learning_rate=1e-9))
    start = tensors(learned(replace(job, recipe=short), tmp_path, name="start"))
    mine = learned(job, tmp_path, name="quantized")
    same = learned(replace(job, model=quantized.read_out(model, plain)), tmp_path, name="read out")
    assert alike(moved(mine.representation, start), moved(same.representation, start))
