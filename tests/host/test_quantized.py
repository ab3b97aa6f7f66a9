"""Learning with weights that are tensors of a class of their own, which only their layers know to read."""

from dataclasses import replace

import pytest
import quantized
import tiny_models
import torch
from jobs import alike, learned, moved, tensors

from persona_core.host.learn.attention_curve import attention_curve
from persona_core.host.learn.autograd import differentiable
from persona_core.host.learn.denoiser import FrozenDenoiser
from persona_core.host.learn.fingerprint import Weights, fingerprint
from persona_core.host.learn.memory import kept_by, layers_of
from persona_core.host.learn.weights import stored
from persona_core.recipes import KVTokensRecipe
from persona_core.task import TrainingSettings

KINDS = "packed", "fp8"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("recipe", [None, KVTokensRecipe(learning=TrainingSettings(steps=4, seed=1), pairs=2)])
def test_it_learns_what_the_same_numbers_in_ordinary_layers_teach(kind, recipe, job, tmp_path):
    model = quantized.model(kind)
    job = replace(job, model=model, recipe=recipe or job.recipe)
    before = {name: (type(one), numbers(one)) for name, one in model.model.diffusion_model.named_parameters()}
    start = learned(shortened(job), tmp_path, name="start")
    mine = learned(job, tmp_path, name="quantized")
    same = learned(replace(job, model=quantized.read_out(model)), tmp_path, name="read out")
    assert alike(moved(mine.representation, tensors(start)), moved(same.representation, tensors(start)))
    after = dict(model.model.diffusion_model.named_parameters())
    assert list(after) == list(before)
    for name, (kind, values) in before.items():
        assert type(after[name]) is kind and all(map(torch.equal, numbers(after[name]), values))


def numbers(weight: torch.Tensor) -> list[torch.Tensor]:
    return [tensor.detach().view(torch.uint8).clone() for tensor in map(torch.atleast_1d, stored(weight))]


def shortened(job):
    recipe = job.recipe
    return replace(job, recipe=replace(recipe, learning=replace(recipe.learning, steps=1, learning_rate=1e-9)))


@pytest.mark.parametrize("kind", KINDS)
def test_the_fingerprint_reads_what_is_stored(kind):
    one, other = (fingerprint(Weights(quantized.model(kind))) for _ in range(2))
    changed = quantized.model(kind)
    weight = changed.model.diffusion_model.get_parameter("middle_block.1.transformer_blocks.0.attn2.to_k.weight")
    (weight if kind == "packed" else weight._qdata).data.view(torch.uint8).bitwise_xor_(1)
    assert one == other
    assert len({one, fingerprint(Weights(changed)), fingerprint(Weights(tiny_models.model()))}) == 3


@pytest.mark.parametrize("kind", KINDS)
def test_stage_partition_sees_what_ordinary_layers_see(kind, clip, vae, photo):
    model = quantized.model(kind)
    curves = [
        attention_curve(one, clip, vae, photo, "face", 333, 1, 0, lambda *_: None).maps
        for one in (model, quantized.read_out(model))
    ]
    assert torch.allclose(*curves, atol=1e-6) and curves[0].std() > 0


@pytest.mark.parametrize("kind", KINDS)
def test_weights_are_there_anyway_but_what_is_made_of_them_is_not(kind):
    """What a step keeps: a layer that reads its weights for each call keeps what it read."""
    model, kept = quantized.model(kind), {}
    for one in (model, quantized.read_out(model)):
        with differentiable(one):
            denoiser, context = FrozenDenoiser(one), torch.randn(1, 77, 64, requires_grad=True)
            step = lambda: denoiser.predict(torch.randn(1, 4, 16, 16), torch.tensor([500]), context, context)  # noqa: B023, E731
            kept[one] = sum(
                kept_by(step, layers_of(denoiser.diffusion_model), list(denoiser.diffusion_model.parameters())).values()
            )
    linear = [part for part in denoiser.diffusion_model.modules() if isinstance(part, torch.nn.Linear)]
    read = sum(part.weight.numel() * 4 for part in linear)
    # Newer hosts make them once more for the backward pass.
    least = 0 if kind == "fp8" else 0.5 * read
    assert least <= kept[model] - kept[one] <= read * 1.01
