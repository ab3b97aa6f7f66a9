"""The frozen denoiser against the host's own way of running the model."""

import pytest
import tiny_models
import torch

from persona_core.host.clip import UnsupportedModel
from persona_core.host.learn import denoiser as denoiser_module
from persona_core.host.learn.autograd import differentiable
from persona_core.host.learn.denoiser import FrozenDenoiser, cpu_has_bf16, model_for_learning
from persona_core.host.model import compute_dtype, cross_attention_blocks
from persona_core.noise import add_noise


def random(*shape, seed=0):
    with torch.inference_mode(False):
        return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("velocity", [False, True])
def test_the_prediction_is_what_the_hosts_denoised_picture_comes_from(velocity):
    model = tiny_models.model(velocity=velocity)
    with differentiable(model), torch.no_grad():
        denoiser = FrozenDenoiser(model)
        clean, noise, context = random(2, 4, 8, 8), random(2, 4, 8, 8, seed=1), random(2, 77, 64, seed=2)
        t = torch.tensor([450, 799])
        prediction = denoiser.predict(add_noise(denoiser.schedule, clean, noise, t), t, context, context)
        sampling = model.model.model_sampling
        sigma = sampling.sigma(t)
        x = clean + sigma[:, None, None, None] * noise
        denoised = model.model.apply_model(x, sigma, c_crossattn=context)
        # The host's own formula takes us from the prediction to the denoised latents, and from the target to the clean ones.
        torch.testing.assert_close(sampling.calculate_denoised(sigma, prediction, x), denoised, atol=1e-3, rtol=1e-3)
        target = denoiser.schedule.target(clean, noise, t)
        torch.testing.assert_close(sampling.calculate_denoised(sigma, target, x), clean, atol=1e-3, rtol=1e-3)


def test_k_and_v_come_from_their_own_contexts(model):
    with differentiable(model), torch.no_grad():
        denoiser = FrozenDenoiser(model)
        noisy, t = random(2, 4, 8, 8), torch.tensor([450, 799])
        keys, values = random(2, 77, 64, seed=2), random(2, 77, 64, seed=3)
        seen = {}
        for name, module in model.model.diffusion_model.named_modules():
            if name.endswith(("attn2.to_k", "attn2.to_v")):
                module.register_forward_hook(
                    lambda m, inputs, output, name=name: seen.update({name: (inputs[0], m, output)})
                )
        both = denoiser.predict(noisy, t, keys, values)
        blocks = cross_attention_blocks(model.model.diffusion_model)
        assert len(seen) == 2 * len(blocks) > 8
        for name, (given, module, output) in seen.items():
            context = keys if name.endswith("to_k") else values
            assert torch.equal(given, context)
            torch.testing.assert_close(output, context @ module.weight.T)
        assert not torch.equal(both, denoiser.predict(noisy, t, keys, keys))


def test_the_gradient_reaches_the_contexts_and_nothing_else(model):
    with differentiable(model):
        denoiser = FrozenDenoiser(model)
        keys, values = random(2, 77, 64, seed=2).requires_grad_(), random(2, 77, 64, seed=3).requires_grad_()
        denoiser.predict(random(2, 4, 8, 8), torch.tensor([450, 799]), keys, values).square().sum().backward()
        assert keys.grad.abs().sum() > 0 and values.grad.abs().sum() > 0
        assert all(p.grad is None and not p.requires_grad for p in model.model.parameters())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_weights_in_half_precision(dtype):
    model = tiny_models.model(dtype=dtype, cast=torch.float32 if dtype == torch.float16 else None)
    with differentiable(model):
        context = random(1, 77, 64).requires_grad_()
        output = FrozenDenoiser(model).predict(random(1, 4, 8, 8), torch.tensor([500]), context, context)
        output.square().mean().backward()
        assert output.dtype == torch.float32 and torch.isfinite(context.grad).all() and context.grad.any()


def test_weights_come_back_as_they_were(model):
    before = dict(model.model.named_parameters())
    values = {name: p.clone() for name, p in before.items()}
    assert any(p.is_inference() for p in before.values())
    with pytest.raises(RuntimeError, match="stop"), differentiable(model):
        assert not any(p.is_inference() for p in model.model.parameters())
        raise RuntimeError("stop")
    after = dict(model.model.named_parameters())
    assert all(after[name] is p and torch.equal(p, values[name]) for name, p in before.items())


def test_the_attention_map_is_the_mean_over_heads_and_the_middle_sizes(model):
    with differentiable(model), torch.no_grad():
        denoiser = FrozenDenoiser(model)
        noisy, t, context = random(1, 4, 16, 16), torch.tensor([600]), random(1, 77, 64, seed=2)
        inputs = {}
        for name, module in model.model.diffusion_model.named_modules():
            if name.endswith("attn2"):
                module.to_q.register_forward_hook(
                    lambda m, i, output, n=name: inputs.setdefault(n, {}).update(q=output[0])
                )
                module.to_k.register_forward_hook(
                    lambda m, i, output, n=name: inputs.setdefault(n, {}).update(k=output[0])
                )
        got = denoiser.attention_map(noisy, t, context, tokens=[5])[0]
        maps = []
        for seen in inputs.values():
            side = int(len(seen["q"]) ** 0.5)
            if side not in (8, 4):
                continue
            heads = 4
            q, k = (x.view(len(x), heads, -1) for x in (seen["q"], seen["k"]))
            total = torch.zeros(side, side)
            for h in range(heads):
                total += (q[:, h] @ k[:, h].T / q.shape[-1] ** 0.5).softmax(-1)[:, 5].view(side, side)
            maps.append(torch.nn.functional.interpolate((total / heads)[None, None], (16, 16), mode="bilinear")[0, 0])
        assert len(maps) >= 4
        torch.testing.assert_close(got, torch.stack(maps).mean(0), atol=1e-6, rtol=1e-4)


def test_a_models_own_patches_hold_while_learning(model):
    calls = []
    patched = model.clone()
    patched.set_model_attn2_patch(lambda n, k, v, extra: (calls.append(extra["block"]), (n, k, v))[1])
    with differentiable(patched), torch.no_grad():
        context = random(1, 77, 64)
        FrozenDenoiser(patched).predict(random(1, 4, 8, 8), torch.tensor([500]), context, 2 * context)
    assert len(calls) == len(cross_attention_blocks(model.model.diffusion_model))
    assert len(patched.model_options["transformer_options"]["patches"]["attn2_patch"]) == 1


@pytest.mark.parametrize(
    ("change", "says"), [({"in_channels": 8}, "8 channels"), ({"adm": 128}, "conditioned on more than text")]
)
def test_models_out_of_reach_are_named(change, says):
    with pytest.raises(UnsupportedModel, match=says):
        FrozenDenoiser(tiny_models.model(**change))


@pytest.mark.parametrize("flag", [None, "force_fp32", "fp32_unet"])
def test_a_cpu_that_multiplies_in_bf16_learns_in_it_unless_told_otherwise(model, monkeypatch, flag):
    monkeypatch.setattr(denoiser_module, "WORTH_CASTING", 0)
    if flag:
        monkeypatch.setattr(denoiser_module.args, flag, True)
    clone = model_for_learning(model)
    expected = torch.bfloat16 if cpu_has_bf16() and not flag else torch.float32
    assert clone is not model and compute_dtype(clone) == expected and compute_dtype(model) == torch.float32
    with differentiable(clone, dtype=compute_dtype(clone)):
        assert FrozenDenoiser(clone).dtype == expected
        linear = next(m for m in clone.model.diffusion_model.modules() if isinstance(m, torch.nn.Linear))
        assert linear.weight.dtype == expected


def test_small_models_learn_as_the_host_computes(model):
    assert compute_dtype(model_for_learning(model)) == torch.float32


def test_the_compute_dtype_is_also_that_of_the_hosts_own_node(model):
    clone = model.clone()
    clone.set_model_compute_dtype(torch.float16)  # what ModelComputeDtype does
    assert compute_dtype(clone) == torch.float16 and compute_dtype(model) == torch.float32
