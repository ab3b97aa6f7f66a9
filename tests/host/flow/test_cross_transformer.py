"""Transformers whose picture looks across at the text, as far as every host has them: learning against the host's own
ways. With Anima's text before it, in hosts that have that: `test_anima`."""

import pytest
import tiny_models
import torch
from jobs import noise, own_forwards

from persona_core.host.clip import UnsupportedModel
from persona_core.host.learn.autograd import differentiable
from persona_core.host.learn.cross_transformer import FrozenCrossTransformer
from persona_core.host.learn.frozen import frozen
from persona_core.host.learn.memory import gradient_checkpointing, layers_of
from persona_core.noise import add_noise


@pytest.fixture(scope="module")
def model():
    return tiny_models.cross_transformer()


def test_the_prediction_is_what_the_hosts_denoised_picture_comes_from(model):
    t, clean, contexts = torch.tensor([538.0, 700.0]), noise(2, 4, 8, 12), noise(2, 33, 64, seed=2)
    with differentiable(model), torch.no_grad():
        denoiser, sampling = FrozenCrossTransformer(model), model.model.model_sampling
        noisy = add_noise(denoiser.schedule, clean, noise(2, 4, 8, 12, seed=1), t)
        output = denoiser.predict(noisy, t, contexts, contexts).unsqueeze(2)
        denoised = model.model.apply_model(noisy.unsqueeze(2), t / 1000, c_crossattn=contexts)
        ours = sampling.calculate_denoised(t / 1000, output, noisy.unsqueeze(2))
    torch.testing.assert_close(ours, denoised, atol=1e-5, rtol=1e-4)


def gradients(model, layers=()):
    with differentiable(model), gradient_checkpointing(layers):
        contexts = noise(2, 33, 64, seed=2).requires_grad_()
        prediction = FrozenCrossTransformer(model).predict(
            noise(2, 4, 8, 8), torch.tensor([600.0, 700.0]), contexts, contexts
        )
        prediction.square().mean().backward()
    return prediction.detach(), contexts.grad


def test_the_gradient_is_the_slope_of_the_hosts_own_prediction(model):
    """Along a direction of chance, by small steps to either side."""
    _, gradient = gradients(model)
    direction, step = noise(2, 33, 64, seed=3), 1e-3

    def host(contexts):
        with torch.no_grad():
            x = noise(2, 4, 8, 8).unsqueeze(2)
            return model.model.diffusion_model(x, torch.tensor([0.6, 0.7]), contexts, transformer_options={})

    with differentiable(model):
        contexts = noise(2, 33, 64, seed=2)
        ends = [host(contexts + sign * step * direction).double().square().mean() for sign in (1, -1)]
    assert float((gradient * direction).sum()) == pytest.approx(float(ends[0] - ends[1]) / (2 * step), rel=0.02)


def test_layers_computed_twice_give_the_same_prediction_and_gradient(model):
    layers, calls = layers_of(model.model.diffusion_model), []
    once = gradients(model)
    hooks = [one.mlp.register_forward_hook(lambda *_: calls.append(1)) for one in layers]
    twice = gradients(model, layers)
    for hook in hooks:
        hook.remove()
    assert len(layers) == 4 and len(calls) == 2 * len(layers) and not own_forwards(model)
    for one, other in zip(once, twice, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6 * float(one.abs().max()))


def test_its_attention_tells_where_each_token_is_looked_for(model):
    """A layer's maps by hand, of all tokens, add up to one; the mean of the middle layers is what is told."""
    contexts, noisy, t = noise(1, 7, 64, seed=2), noise(1, 4, 8, 12), torch.tensor([600.0])
    with differentiable(model):
        maps = [FrozenCrossTransformer(model).attention_map(noisy, t, contexts, [token]) for token in range(7)]
    total = torch.stack(maps).sum(0)
    torch.testing.assert_close(total, torch.ones_like(total), atol=1e-5, rtol=1e-4)
    assert all(one.shape == (1, 8, 12) and one.std() > 0 for one in maps)


def test_without_the_adapter_it_is_not_ours(model):
    with pytest.raises(UnsupportedModel, match="this MODEL is CosmosT2IPredict2"):
        frozen(model)
