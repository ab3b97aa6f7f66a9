"""Layers that are computed twice, instead of keeping what they computed for the backward pass."""

import pytest
import tiny_models
import torch
from comfy.ldm.modules.attention import attention_pytorch
from jobs import noise, own_forwards

from persona_core.host.learn.autograd import differentiable
from persona_core.host.learn.denoiser import FrozenDenoiser
from persona_core.host.learn.memory import gradient_checkpointing, layers_of
from persona_core.host.model import cross_attention_blocks, text_width
from persona_core.losses import attention_difference


def gradients(patcher, layers=(), watch=True):
    """A pass of two rows: its prediction, how its layers looked, and the gradients to the contexts for K and V."""
    with differentiable(patcher), gradient_checkpointing(layers):
        denoiser, width, t = FrozenDenoiser(patcher, 8 * 8), text_width(patcher), torch.tensor([100, 700])
        keys, values = (noise(2, 77, width, seed=seed).requires_grad_() for seed in (1, 2))
        pooled = noise(2, 128, seed=3) if width == 192 else None  # SDXL's
        seen = noise(2, 4, 8, 8), t, keys, values
        if watch:
            prediction, attentions = denoiser.predict_watched(*seen, noise(2, 77, width, seed=4), pooled)
        else:
            prediction, attentions = denoiser.predict(*seen, pooled), []
        every = torch.ones(2, 77, dtype=torch.bool)
        loss = prediction.square().mean() + 1e3 * sum(attention_difference(one, every) for one in attentions)
        loss.backward()
    return prediction.detach(), attentions, keys.grad, values.grad


def neighbour(model):
    """A MODEL with another pack's patches, of which each does something else in each block."""
    patched = model.clone()

    def by_block(n, extra):
        return n * (1 + extra["block"][1] % 5)

    patched.set_model_attn1_output_patch(by_block)
    patched.set_model_attn2_output_patch(by_block)
    patched.set_model_attn2_replace(
        lambda q, k, v, extra: 3 * attention_pytorch(q, k, v, extra["n_heads"]), "middle", 0
    )
    return patched


def computing_in(dtype, model):
    model.set_model_compute_dtype(dtype)
    return model


MODELS = {
    "SD1.x": tiny_models.model,
    "SDXL": lambda: tiny_models.model(sdxl=True),
    "bf16": lambda: computing_in(torch.bfloat16, tiny_models.model()),
    "patched": lambda: neighbour(tiny_models.model()),
}


@pytest.mark.parametrize("watch", [False, True])
@pytest.mark.parametrize("kind", MODELS)
def test_layers_computed_twice_give_the_same_prediction_and_gradients(kind, watch):
    model = MODELS[kind]()
    layers, calls = layers_of(model.model.diffusion_model), []
    once = gradients(model, watch=watch)
    queries = [m for n, m in model.model.diffusion_model.named_modules() if n.endswith("attn2.to_q")]
    hooks = [one.register_forward_hook(lambda module, *_: calls.append(module)) for one in queries]
    twice = gradients(model, layers, watch)
    for hook in hooks:
        hook.remove()
    assert calls == queries + queries[::-1]  # the second time in the backward pass
    for one, other in zip(once, twice, strict=True):
        if isinstance(one, torch.Tensor):
            assert one.abs().max() > 0
            torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6 * float(one.abs().max()))


def test_layers_computed_twice_are_watched_once(model):
    layers, blocks = layers_of(model.model.diffusion_model), cross_attention_blocks(model.model.diffusion_model)
    once, twice = (gradients(model, some)[1] for some in ((), layers))
    assert len(once) == len(twice) == len(blocks)
    for one, other in zip(once, twice, strict=True):
        assert one.shape == other.shape and one.heads == other.heads
        for name in ("queries", "keys", "reference"):
            torch.testing.assert_close(getattr(one, name), getattr(other, name))


def test_other_packs_patches_of_a_block_make_a_difference(model):
    """Or the test above would not tell whether the second time knows its block."""
    plain, patched = gradients(model), gradients(neighbour(model))
    assert all((one - other).abs().max() > 0.05 * one.abs().max() for one, other in zip(plain[::2], patched[::2]))


def test_layers_have_their_own_forward_only_within(model):
    layers = layers_of(model.model.diffusion_model)
    with gradient_checkpointing(layers):
        assert own_forwards(model) == layers
    assert not own_forwards(model)
    gradients(model, layers)
    assert not own_forwards(model)


def test_an_error_within_leaves_no_trace(model):
    layers, patched = layers_of(model.model.diffusion_model), model.clone()

    def fail(n, k, v, extra):
        raise ZeroDivisionError

    patched.set_model_attn2_patch(fail)
    with pytest.raises(ZeroDivisionError):
        gradients(patched, layers)
    assert not own_forwards(model)


def test_another_packs_own_forward_is_used_and_comes_back(model):
    layers, calls = layers_of(model.model.diffusion_model), []
    mine, usual = layers[2], layers[2].forward

    def theirs(*args, **more):
        calls.append(1)
        return 2 * usual(*args, **more)

    mine.forward = theirs
    once, _, *of_once = gradients(model)
    twice, _, *of_twice = gradients(model, layers)
    assert len(calls) == 1 + 2 and own_forwards(model) == [mine] and mine.forward is theirs
    for one, other in zip((once, *of_once), (twice, *of_twice)):
        torch.testing.assert_close(one, other)
