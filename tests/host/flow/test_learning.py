"""Flow-matching transformers in which text and picture attend jointly (Z-Image): learning against the host's own ways."""

from dataclasses import replace

import pytest
import tiny_models
import torch
from recording import encode

from persona_core.host.clip import UnsupportedModel, text_towers
from persona_core.host.learn.attention_curve import attention_curve
from persona_core.host.learn.autograd import differentiable
from persona_core.host.learn.frozen import frozen
from persona_core.host.learn.outcome import LOG_SNR
from persona_core.host.learn.run import train_persona
from persona_core.host.learn.text import DifferentiableText
from persona_core.host.model import best_resolution, check_across, default_stages
from persona_core.noise import add_noise
from persona_core.persona import Persona
from persona_core.recipes import StageMapperRecipe
from persona_core.representation import TokenVectors
from persona_core.stages import Stages

PROMPTS = "a photo of a {}", "{} in a garden", "a {}, laughing", "the {} (red:1.2) hat"


@pytest.fixture
def flow_job(job, model, clip):
    recipe = StageMapperRecipe(stages=default_stages(model), resolution=64, te_weight=1e-3)
    return replace(job, model=model, clip=clip, recipe=replace(recipe, learning=replace(job.recipe.learning, steps=4)))


def drawn(*shape, seed=0):
    with torch.inference_mode(False):
        return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("prompt", PROMPTS)
def test_the_context_is_the_hosts(clip, prompt):
    """Of the whole template, with the word's own vector at the placeholder."""
    tower = text_towers(clip).first
    with differentiable(clip.patcher), torch.no_grad():
        [token] = tower.plain("face") if prompt.startswith("{}") else tower.ids("face")
        word = tower.embedding(token)[None, None]
        ours = DifferentiableText(clip, 1, "face").encode([prompt], TokenVectors(word, word))
    [(theirs, _)] = encode(clip, prompt.format("face"))
    torch.testing.assert_close(ours.keys, theirs, atol=1e-5, rtol=1e-4)
    words = torch.cat([ours.words[0].nonzero()[:, 0], ours.persona[0].nonzero()[:, 0]]).sort()[0]
    inside = tower.plain(prompt.format("face"))
    assert words.tolist() == list(range(3, 3 + len(inside)))  # behind <|im_start|> user and a new line


def test_prompts_of_different_lengths_are_encoded_as_each_alone(clip):
    vectors = 0.02 * drawn(4, 3, 64)
    vectors = TokenVectors(vectors, vectors, 0.1 * drawn(4, 3, 64, seed=1))
    prompts = ["a photo of a {}", "{}", "a {} at the beach, laughing, in a red hat"]
    with differentiable(clip.patcher), torch.no_grad():
        text = DifferentiableText(clip, 3, "face")
        together = text.encode(prompts, vectors, ["a {} in a garden"])
        for row, prompt in enumerate(prompts):
            one = TokenVectors(*(side[row : row + 1] for side in (vectors.keys, vectors.values, vectors.bypass)))
            alone = text.encode([prompt], one)
            length = alone.values.shape[1]
            for side in ("keys", "values", "persona", "words"):
                found = getattr(together, side)[row]
                torch.testing.assert_close(found[:length], getattr(alone, side)[0], atol=1e-5, rtol=1e-4)
                assert not found[length:].any()


def test_the_attention_of_grouped_heads_is_what_the_layer_mixes_by(clip):
    """Its own values, mixed by our probabilities, are what the host's layer says."""
    with differentiable(clip.patcher), torch.no_grad():
        text = DifferentiableText(clip, 1, "face")
        layers, x = text.encoders[0].layers, drawn(2, 9, 64)
        attention = text.encoders[0].layers.layers[-1].self_attn
        index = text.encoders[0].depth - 1
        found = layers.attention(index, x)
        normed = layers.layers[index].input_layernorm(x)
        values = attention.v_proj(normed).view(2, 9, attention.num_kv_heads, -1).transpose(1, 2)
        values = values.repeat_interleave(attention.num_heads // attention.num_kv_heads, 1)
        mixed = attention.o_proj((found @ values).transpose(1, 2).flatten(2))
        mask = torch.full((9, 9), -torch.inf).triu(1)
        given = dict(attention_mask=mask, freqs_cis=layers.turns(x), optimized_attention=layers.compute)
        theirs = attention(normed, **given)
        theirs = theirs[0] if isinstance(theirs, tuple) else theirs  # newer hosts'
    assert (found.sum(-1) - 1).abs().max() < 1e-5 and not found.triu(1).any()
    torch.testing.assert_close(mixed, theirs, atol=1e-5, rtol=1e-4)


def test_the_prediction_is_what_the_hosts_denoised_picture_comes_from(model):
    """For contexts of three lengths at once, on both sides of what the host fills text up to."""
    lengths, t = (20, 33, 12), torch.tensor([538.0, 700.0, 300.0])
    clean, noise, contexts = drawn(3, 4, 8, 12), drawn(3, 4, 8, 12, seed=1), drawn(3, 33, 64, seed=2)
    for row, length in enumerate(lengths):
        contexts[row, length:] = 0
    with differentiable(model), torch.no_grad():
        denoiser, sampling = frozen(model), model.model.model_sampling
        noisy = add_noise(denoiser.schedule, clean, noise, t)
        output, target = denoiser.predict(noisy, t, contexts, contexts), denoiser.schedule.target(clean, noise, t)
        for row, length in enumerate(lengths):
            one, sigma = slice(row, row + 1), t[row : row + 1] / 1000
            given = {"c_crossattn": contexts[one, :length], "num_tokens": length}
            denoised = model.model.apply_model(noisy[one], sigma, **given)
            ours = sampling.calculate_denoised(sigma, output[one], noisy[one])
            torch.testing.assert_close(ours, denoised, atol=1e-5, rtol=1e-4)
            picture = sampling.calculate_denoised(sigma, target[one], noisy[one])
            torch.testing.assert_close(picture, clean[one], atol=1e-5, rtol=1e-4)


def test_the_gradient_reaches_every_token_and_no_padding(model):
    contexts = drawn(2, 10, 64)
    contexts[1, 6:] = 0
    contexts.requires_grad_()
    with differentiable(model):
        noisy, t = drawn(2, 4, 8, 8), torch.tensor([600.0, 600.0])
        frozen(model).predict(noisy, t, contexts, contexts).square().sum().backward()
    reached = contexts.grad.abs().sum(-1) > 0
    assert reached[0].all() and reached[1, :6].all() and not reached[1, 6:].any()
    assert all(weight.grad is None for weight in model.model.parameters())


def test_it_learns_and_keeps_its_stage_as_noise(flow_job, tmp_path):
    persona = train_persona(flow_job, "f" * 32, tmp_path / "partial", lambda progress: None)
    again = Persona.load(persona.save(tmp_path / "ann.safetensors"))
    assert again.family == "custom (qwen3_4b, 64 wide)"
    assert again.representation.stages == Stages(538, 836)
    ends = [again.settings[f"{LOG_SNR} {name}"] for name in ("t_lo", "t_hi")]
    assert ends == pytest.approx([2 * torch.tensor((1000 - t) / t).log().item() for t in (538, 836)], abs=1e-3)
    moved = persona.representation.at(torch.tensor([700.0]))
    assert (moved.keys - persona.representation.initializers).norm() > 1e-4 and moved.bypass.any()


def test_a_word_of_several_tokens_is_learned_with_from_its_own(flow_job, tmp_path):
    towers = text_towers(flow_job.clip)
    word, recipe = towers.word("axolotl"), replace(flow_job.recipe, supercategory="axolotl")
    towers.check_words(recipe)
    persona = train_persona(replace(flow_job, recipe=recipe), "f" * 32, tmp_path / "partial", lambda progress: None)
    assert persona.representation.word.shape == (4, 64) and torch.equal(persona.representation.word, word)
    vectors = persona.representation.at(torch.tensor([700.0])).keys[0]
    torch.testing.assert_close(vectors.norm(dim=-1), word.norm(dim=-1))
    nearness = torch.cosine_similarity(vectors[:, None], word[None], dim=-1)
    assert nearness.argmax(1).tolist() == [0, 1, 2, 3] and nearness.max() < 0.999


def test_its_attention_tells_where_the_word_looks(flow_job):
    curve = attention_curve(
        flow_job.model, flow_job.clip, flow_job.vae, flow_job.photos[0], "face", 250, 1, 0, lambda *_: None
    )
    assert curve.maps.shape[0] == 4 and curve.maps.isfinite().all() and curve.maps.std() > 0


def test_what_needs_cross_attention_is_refused_with_a_sentence(model):
    with pytest.raises(UnsupportedModel, match="Face-Wise K/V Tokens needs a model whose picture looks across"):
        check_across(model, "Face-Wise K/V Tokens", "Use Learn Persona with it.")
    check_across(tiny_models.model(), "Face-Wise K/V Tokens", "")
    assert best_resolution(model) == 1024 and default_stages(tiny_models.model()) == Stages(400, 800)
