"""The differentiable text encoder against the host's own."""

import pytest
import tiny_models
import torch

from persona_core.host.clip import UnsupportedModel, text_towers
from persona_core.host.learn.autograd import differentiable
from persona_core.host.learn.text import DifferentiableText
from persona_core.representation import TokenVectors

PROMPTS = ["a photo of a {}", "{} wearing a Santa hat in the snow"]


@pytest.fixture
def vectors():
    with torch.inference_mode(False):
        generator = torch.Generator().manual_seed(0)
        return TokenVectors(
            *(0.02 * torch.randn(2, 3, 64, generator=generator) for _ in range(2)),
            torch.randn(2, 3, 64, generator=generator),
        )


def host_context(clip, prompt, vectors, bypass=None):
    """The host's own encoding of a prompt with vectors in it, and an independent bypass."""
    before, after = prompt.split("{}")
    tower, model = text_towers(clip).first, clip.cond_stage_model.clip_l
    ids = tower.tokenizer.tokenizer
    tokens = [49406, *ids(before)["input_ids"][1:-1], *vectors, *ids(after)["input_ids"][1:-1], 49407]
    tokens += [49407] * (77 - len(tokens))
    captured = {}
    norm = tower.transformer.final_layer_norm
    handle = norm.register_forward_hook(lambda module, inputs, output: captured.update(hidden=inputs[0].clone()))
    context = model.encode([tokens])[0]
    handle.remove()
    if bypass is not None:
        hidden, start = captured["hidden"], 1 + len(ids(before)["input_ids"][1:-1])
        for n in range(len(vectors)):
            h = hidden[0, start + n].clone()
            moved = h + bypass[n]
            hidden[0, start + n] = moved / (moved**2).sum().sqrt() * (h**2).sum().sqrt()
        context = norm(hidden)
    return context[0]


@pytest.mark.parametrize("skip", [None, -2])
def test_contexts_equal_the_hosts(clip, vectors, skip):
    if skip:
        clip.clip_layer(skip)
        clip.cond_stage_model.set_clip_options({"layer": skip})
    with differentiable(clip.patcher), torch.no_grad():
        encoding = DifferentiableText(clip, 3).encode(PROMPTS, TokenVectors(vectors.keys, vectors.values))
        for row, prompt in enumerate(PROMPTS):
            torch.testing.assert_close(
                encoding.keys[row], host_context(clip, prompt, list(vectors.keys[row])), atol=2e-5, rtol=1e-4
            )
            torch.testing.assert_close(
                encoding.values[row], host_context(clip, prompt, list(vectors.values[row])), atol=2e-5, rtol=1e-4
            )


def test_the_bypass_moves_v_alone_and_keeps_the_norm(clip, vectors):
    with differentiable(clip.patcher), torch.no_grad():
        same = TokenVectors(vectors.keys, vectors.keys, vectors.bypass)
        encoding = DifferentiableText(clip, 3).encode(PROMPTS, same)
        for row, prompt in enumerate(PROMPTS):
            tokens = list(vectors.keys[row])
            torch.testing.assert_close(encoding.keys[row], host_context(clip, prompt, tokens), atol=2e-5, rtol=1e-4)
            torch.testing.assert_close(
                encoding.values[row], host_context(clip, prompt, tokens, vectors.bypass[row]), atol=2e-5, rtol=1e-4
            )
        moved = (encoding.keys != encoding.values).any(-1)
        assert torch.equal(moved, encoding.persona)


def test_what_the_layers_make_of_a_word_is_what_the_bypass_is_added_to(clip, vectors):
    """So a bypass of minus that, and something else, leaves only the something else, at the same norm."""
    with differentiable(clip.patcher), torch.no_grad():
        text, word = DifferentiableText(clip, 1), vectors.keys[0, :1]
        output, other = text.output_of(word[0]), torch.randn(64, generator=torch.Generator().manual_seed(1))
        moved = TokenVectors(word[None], word[None], (other - output)[None, None])
        encoding = text.encode(["a photo of a {}"], moved)
        tower = text.encoders[0]
        alone = tower.layers.finish((other / other.norm() * output.norm())[None, None])
        torch.testing.assert_close(encoding.values[encoding.persona], alone[0], atol=2e-5, rtol=1e-4)


def test_attention_is_that_of_the_last_layer(clip, vectors):
    with differentiable(clip.patcher), torch.no_grad():
        text = DifferentiableText(clip, 3)
        twice = torch.cat([vectors.values, vectors.keys])  # the rich prompts' are the last
        rich = text.encode(PROMPTS, TokenVectors(twice, twice), PROMPTS).rich
        inputs = {}
        layer = text_towers(clip).first.transformer.encoder.layers[-1]
        handle = layer.layer_norm1.register_forward_hook(lambda module, _, output: inputs.update(x=output.clone()))
        text.encode(PROMPTS, TokenVectors(vectors.keys, vectors.keys))
        handle.remove()
        x, attention = inputs["x"][1], layer.self_attn
        q, k = attention.q_proj(x), attention.k_proj(x)
        for head in range(4):
            part = slice(16 * head, 16 * head + 16)
            for query in (0, 5, 40):
                scores = torch.stack([q[query, part] @ k[j, part] / 4 for j in range(query + 1)])
                torch.testing.assert_close(
                    rich.attentions[0][1, head, query, : query + 1], scores.softmax(0), atol=1e-5, rtol=1e-4
                )
                assert not rich.attentions[0][1, head, query, query + 1 :].any()


def test_with_tokens_for_k_and_for_v_each_is_as_if_alone(clip, vectors):
    sides = [torch.cat([vectors.keys, vectors.bypass[:1]]), torch.cat([vectors.values, vectors.bypass[1:]])]
    with differentiable(clip.patcher), torch.no_grad():
        text = DifferentiableText(clip, 3)
        both = text.encode(PROMPTS, TokenVectors(*sides), PROMPTS[:1])
        alone = [text.encode(PROMPTS, TokenVectors(side, side), PROMPTS[:1]) for side in sides]
    for ours, theirs in zip((both.keys, both.values), alone):
        torch.testing.assert_close(ours, theirs.keys)
    for ours, theirs in zip(both.rich.attentions, alone, strict=True):
        torch.testing.assert_close(ours, *theirs.rich.attentions)
    assert not torch.allclose(*both.rich.attentions)


def test_words_are_neither_persona_nor_padding(clip, vectors):
    with differentiable(clip.patcher):
        encoding = DifferentiableText(clip, 3).encode(PROMPTS, vectors)
    assert encoding.persona.nonzero().tolist() == [[0, 5], [0, 6], [0, 7], [1, 1], [1, 2], [1, 3]]
    assert encoding.words[0].nonzero().flatten().tolist() == [1, 2, 3, 4]  # a photo of a
    assert encoding.words[1].nonzero().flatten().tolist() == [4, 5, 6, 7, 8, 9, 10]  # wearing a santa hat in the snow


def test_the_gradient_is_the_numeric_one(clip, vectors):
    with differentiable(clip.patcher):
        text = DifferentiableText(clip, 3)
        probe = torch.randn(2, 77, 64, generator=torch.Generator().manual_seed(1))
        keys, bypass = vectors.keys.clone().requires_grad_(), vectors.bypass.clone().requires_grad_()

        def output(keys, bypass):
            encoding = text.encode(PROMPTS, TokenVectors(keys, keys, bypass))
            return ((encoding.keys + encoding.values).double() * probe).sum()

        output(keys, bypass).backward()
        with torch.no_grad():  # along the gradient itself, where the change is largest against fp32's noise
            for tensor in (keys, bypass):
                slope = tensor.grad.norm()
                step = 1e-3 * tensor.grad / slope
                ahead, behind = (
                    output(keys + s * step, bypass) if tensor is keys else output(keys, bypass + s * step)
                    for s in (1, -1)
                )
                assert float(ahead - behind) / 2e-3 == pytest.approx(float(slope), rel=1e-2)


def test_no_text_encoder_is_a_sentence():
    with pytest.raises(UnsupportedModel, match="carries no text encoder"):
        text_towers(None)


def test_half_precision_weights_learn_too(vectors):
    clip = tiny_models.clip(dtype=torch.float16)
    with differentiable(clip.patcher):
        keys = vectors.keys.clone().requires_grad_()
        DifferentiableText(clip, 3).encode(PROMPTS, TokenVectors(keys, keys)).keys.sum().backward()
        assert keys.grad.dtype == torch.float32 and keys.grad.abs().sum() > 0
