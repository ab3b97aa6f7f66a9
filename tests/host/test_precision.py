"""What the frozen models compute in while learning."""

from dataclasses import replace
from itertools import product

import pytest
import tiny_models
import torch
from jobs import learned, noise
from torch import nn

from persona_core.host.learn import attention, loaded
from persona_core.host.learn.attention import FEW_TOKENS, attention_for
from persona_core.host.learn.autograd import MULTIPLIES, differentiable
from persona_core.host.learn.denoiser import FrozenDenoiser
from persona_core.host.learn.text import DifferentiableText
from persona_core.mapper import StageMapper
from persona_core.stages import Stages


def test_weights_are_cast_while_learning_and_the_very_same_after():
    model, clip = tiny_models.model(dtype=torch.float16), tiny_models.clip(dtype=torch.float16)
    modules = model.model.diffusion_model, clip.cond_stage_model
    before = [dict(module.named_parameters()) for module in modules]
    values = [{name: one.clone() for name, one in parameters.items()} for parameters in before]
    assert {one.dtype for one in before[0].values()} == {torch.float16}
    with differentiable(model, clip.patcher, dtype=torch.bfloat16):
        multiply = [part for module in modules for part in module.modules() if isinstance(part, MULTIPLIES)]
        assert {part.weight.dtype for part in multiply} == {torch.bfloat16}
        assert any(isinstance(part, nn.Conv2d) for part in multiply)
        embeddings = [part for part in modules[1].modules() if isinstance(part, nn.Embedding)]
        assert embeddings and not any(part.weight.dtype == torch.bfloat16 for part in embeddings)
    for module, parameters, value in zip(modules, before, values):
        after = dict(module.named_parameters())
        assert list(after) == list(parameters) and all(after[name] is one for name, one in parameters.items())
        assert all(one.dtype == value[name].dtype and torch.equal(one, value[name]) for name, one in after.items())


@pytest.mark.parametrize("family", ["sd1", "sdxl", "z_image"])
def test_a_text_encoder_in_half_precision_gives_nearly_the_same(family):
    clip, found = tiny_models.clip(family), []
    for dtype in (torch.float32, torch.bfloat16):
        with differentiable(clip.patcher, dtype=dtype):
            text = DifferentiableText(clip, 2, dtype=dtype)
            word = text.towers.word("person")
            mapper = StageMapper(word, Stages(), 2, widths=text.towers.widths)
            vectors = mapper.at(torch.tensor([500, 700]))
            start = (word + word.std() * noise(2, 2, len(word))).requires_grad_()
            encoding = text.encode(["a photo of {}", "at sea with {}"], replace(vectors, keys=start, values=start))
            assert encoding.keys.dtype == torch.float32
            (encoding.keys * noise(*encoding.keys.shape, seed=1)).sum().backward()
            found.append((encoding.keys.detach(), start.grad))
    (one, gradient), (other, slanted) = found
    assert not torch.equal(one, other)
    assert torch.cosine_similarity(one, other, dim=-1).min() > 0.999
    assert torch.cosine_similarity(gradient.flatten(), slanted.flatten(), dim=0) > 0.98


@pytest.mark.parametrize("at_once", [1, 3600, 2**22])  # bytes: head by head, three at once, all
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("apart", [False, True])  # heads, as the host calls it for some models
def test_attention_in_half_precision_and_its_gradients_are_nearly_those_in_full(masked, apart, at_once, monkeypatch):
    monkeypatch.setattr(attention, "CHUNK_BYTES", at_once)
    cpu, mask, found = torch.device("cpu"), 5 * noise(20, 30, seed=9) if masked else None, []
    shapes = ((2, 20, 64), (2, 30, 64), (2, 30, 64))
    for dtype, tokens in ((torch.float32, 1), *product((torch.bfloat16, torch.float16), (FEW_TOKENS, FEW_TOKENS + 1))):
        with torch.inference_mode(False):
            given = [noise(*shape, seed=seed).to(dtype).requires_grad_() for seed, shape in enumerate(shapes)]
            heads = [one.unflatten(-1, (4, 16)).transpose(1, 2) if apart else one for one in given]
            there = None if mask is None else mask.clone().to(dtype)
            made = attention_for(cpu, dtype, tokens)(*heads, 4, mask=there, skip_reshape=apart)
            assert made.dtype == dtype and made.shape == (2, 20, 64)
            made.square().sum().backward()
        found.append([made.detach().float(), *(one.grad.float() for one in given)])
    exactly, *nearly = found
    for one, *others in zip(exactly, *nearly):
        assert all(torch.cosine_similarity(one.flatten(), other.flatten(), dim=0) > 0.999 for other in others)


def test_learning_says_how_large_its_latents_are(job, tmp_path, monkeypatch):
    told = []

    def denoiser(model, cells):
        told.append(cells)
        return FrozenDenoiser(model, cells)

    monkeypatch.setattr(loaded, "frozen", denoiser)
    learned(job, tmp_path)
    assert told == [8 * 8]
