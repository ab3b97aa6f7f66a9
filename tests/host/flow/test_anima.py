"""Anima: a flow-matching transformer whose layers look across at what an adapter finds in the text, against the host's
own ways. Of newer hosts; what older ones have of it is in `test_cross_transformer`."""

from dataclasses import replace

import pytest
import tiny_models
import torch
from fitting import opened
from recording import Recorder, encode, sample

from persona_core.batch import sample_batch
from persona_core.host.adapter import IDS, WEIGHTS
from persona_core.host.apply.context import PersonaNotFollowed
from persona_core.host.apply.encoding import apply_to_clip
from persona_core.host.apply.sampling import apply_to_model
from persona_core.host.clip import UnsupportedModel, text_towers
from persona_core.host.learn import preview
from persona_core.host.learn.adapted_text import text_encoder
from persona_core.host.learn.autograd import differentiable
from persona_core.host.learn.frozen import frozen
from persona_core.host.learn.latents import decode
from persona_core.host.learn.latents import encode as latents_of
from persona_core.host.learn.run import train_persona
from persona_core.host.model import (
    best_resolution,
    check_across,
    check_layers,
    check_persona,
    check_text,
    check_vae,
    default_stages,
)
from persona_core.losses import FaceWiseAttention, attention_difference
from persona_core.passes import forward
from persona_core.recipes import KVTokensRecipe, StageMapperRecipe
from persona_core.representation import TokenVectors
from persona_core.stages import Stages
from persona_core.table import AppliedPersona

if "anima" not in tiny_models.CLIPS:
    pytest.skip("this ComfyUI has no Anima", allow_module_level=True)

PROMPTS = "a photo of a {}", "{} in a garden", "a {}, laughing", "the {}'s hat"


@pytest.fixture(scope="module")
def model():
    return tiny_models.anima()


@pytest.fixture(scope="module")
def clip():
    return tiny_models.clip("anima")


def drawn(*shape, seed=0):
    with torch.inference_mode(False):
        return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def given_to_layers(model, clip, prompt):
    """What the host gives the layers for a prompt."""
    context, extra = encode(clip, prompt)[0]
    with torch.inference_mode():
        conds = model.model.extra_conds(
            noise=torch.zeros(1, 4, 1, 8, 8), device=torch.device("cpu"), cross_attn=context,
            **{name: extra[name] for name in (IDS, WEIGHTS)},
        )  # fmt: skip
    return conds["c_crossattn"].cond


@pytest.mark.parametrize("prompt", PROMPTS)
def test_the_context_is_what_the_host_gives_the_layers(model, clip, prompt):
    """With the word's own vector at the placeholder, through text encoder and adapter."""
    tower = text_towers(clip).first
    with differentiable(model, clip.patcher), torch.no_grad():
        [token] = tower.plain("face") if prompt.startswith("{}") else tower.ids("face")
        word = tower.embedding(token)[None, None]
        text = text_encoder(model, clip, 1, "face")
        ours = text.encode([prompt], TokenVectors(word, word))
    theirs = given_to_layers(model, clip, prompt.format("face"))
    torch.testing.assert_close(ours.keys, theirs, atol=1e-5, rtol=1e-4)
    ids = clip.tokenize(prompt.format("face"))["t5xxl"][0]
    decoded = clip.tokenizer.t5xxl.tokenizer.convert_ids_to_tokens([token for token, _ in ids])
    of_persona = [one for one, inside in zip(decoded, ours.persona[0].tolist()) if inside]
    assert of_persona == ["▁face"] and ours.words[0].sum() == len(ids) - 2  # and the end


def test_rows_are_encoded_as_each_alone_and_gradients_reach_the_vectors(model, clip):
    prompts = ["a photo of a {}", "a {} at the beach, laughing", "a photo of a {}"]
    with differentiable(model, clip.patcher):
        vectors = [(0.02 * drawn(3, 2, 64, seed=seed)).requires_grad_() for seed in range(2)]
        bypass = (0.1 * drawn(3, 2, 64, seed=2)).requires_grad_()
        text = text_encoder(model, clip, 2, "face")
        together = text.encode(prompts, TokenVectors(*vectors, bypass))
        assert together.keys.shape == together.values.shape == (3, 512, 64)
        for row, prompt in enumerate(prompts):
            one = TokenVectors(*(side[row : row + 1] for side in (*vectors, bypass)))
            alone = text.encode([prompt], one)
            torch.testing.assert_close(together.keys[row], alone.keys[0], atol=1e-5, rtol=1e-4)
            torch.testing.assert_close(together.values[row], alone.values[0], atol=1e-5, rtol=1e-4)
        t = torch.tensor([600.0] * 3)
        prediction = frozen(model).predict(drawn(3, 4, 8, 8), t, together.keys, together.values)
        prediction.square().mean().backward()
    assert all(one.grad.abs().sum((1, 2)).min() > 0 for one in (*vectors, bypass))
    assert all(weight.grad is None for weight in model.model.parameters())


def test_keys_and_values_go_apart(model, clip):
    """With V's own context: as a layer with those weights computes by hand."""
    keys, values, seen = drawn(1, 512, 64), drawn(1, 512, 64, seed=1), {}
    with differentiable(model), torch.no_grad():
        attention = model.model.diffusion_model.blocks[0].cross_attn
        hooks = [
            part.register_forward_hook(lambda m, inputs, output, name=name: seen.update({name: output}))
            for name, part in (("q", attention.q_proj), ("out", attention))
        ]
        frozen(model).predict(drawn(1, 4, 8, 8), torch.tensor([600.0]), keys, values)
        for hook in hooks:
            hook.remove()
        split = lambda x: x.unflatten(-1, (attention.n_heads, -1)).transpose(1, 2)  # noqa: E731
        query = attention.q_norm(split(seen["q"]))
        key, value = attention.k_norm(split(attention.k_proj(keys))), split(attention.v_proj(values))
        mixed = torch.nn.functional.scaled_dot_product_attention(query, key, value)
        by_hand = attention.output_proj(mixed.transpose(1, 2).flatten(2))
    torch.testing.assert_close(seen["out"].flatten(1, -2), by_hand, atol=1e-5, rtol=1e-4)


def test_the_reference_is_looked_at_by_the_same_queries_and_changes_nothing(model):
    keys, values, reference = (drawn(2, 512, 64, seed=seed) for seed in range(3))
    noisy, t = drawn(2, 4, 8, 12), torch.tensor([600.0, 700.0])
    with differentiable(model), torch.no_grad():
        plain = frozen(model).predict(noisy, t, keys, values)
        watched, layers = frozen(model).predict_watched(noisy, t, keys, values, reference)
        torch.testing.assert_close(plain, watched, atol=1e-5, rtol=1e-4)
        assert len(layers) == 4 and {layer.shape for layer in layers} == {(4, 6)}
        attention = model.model.diffusion_model.blocks[2].cross_attn
        for context, found in ((keys, layers[2].keys), (reference, layers[2].reference)):
            split = attention.k_proj(context).unflatten(-1, (attention.n_heads, -1))
            torch.testing.assert_close(found, attention.k_norm(split).flatten(2), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("recipe", [StageMapperRecipe(), KVTokensRecipe(supercategory="face")], ids=["mapper", "pairs"])
def test_painting_gives_the_layers_what_was_learned_with(job, model, clip, tmp_path, recipe):
    """At a step's own timestep: K and V of every layer are the contexts that learning computes there."""
    learning = replace(job.recipe.learning, steps=3)
    recipe = replace(recipe, resolution=64, learning=learning)
    persona = train_persona(
        replace(job, model=model, clip=clip, recipe=recipe), "f" * 32, tmp_path / "p", lambda _: None
    )
    applied = apply_to_clip(clip, AppliedPersona(persona, early="persona"), "<ann>")
    recorder = Recorder(model)
    sample(apply_to_model(model, "<ann>"), encode(applied, "a photo of <ann> in snow"), encode(applied, ""), steps=3)
    apart = []
    with differentiable(model, clip.patcher), torch.no_grad():
        text = text_encoder(model, clip, persona.representation.tokens, "face")
        for seen in recorder.passes:
            at = persona.representation.at(torch.tensor([persona.representation.clamped(min(seen["t"], 999))]))
            ours, row = text.encode(["a photo of {} in snow"], at), seen["rows"].index(0)
            apart.append(float((ours.keys - ours.values).abs().max()))
            for side, expected in (("k", ours.keys), ("v", ours.values)):
                assert len(seen[side]) == 4
                for given in seen[side]:
                    torch.testing.assert_close(given[row], expected[0], atol=3e-3, rtol=3e-3)
    assert max(apart) > 1e-4


def test_where_nobody_follows_the_persona_it_is_said(model, clip):
    applied = apply_to_clip(clip, AppliedPersona(tiny_models.persona(clip)), "<ann>", hooked=False)
    with pytest.raises(PersonaNotFollowed, match="Give the sampler the MODEL that comes out of Apply"):
        sample(model, encode(applied, "a photo of <ann>"), encode(applied, ""))


def test_weights_count_as_in_the_plain_prompt(model, clip):
    """The adapter's words carry them: with the persona at strength 0 the layers get what the host would give."""
    applied = apply_to_clip(clip, AppliedPersona(tiny_models.persona(clip), strength=0.0), "<ann>")
    recorder = Recorder(model)
    sample(apply_to_model(model, "<ann>"), encode(applied, "a (<ann>:1.4) in (snow:0.6)"), encode(applied, ""), steps=1)
    expected = given_to_layers(model, clip, "a (face:1.4) in (snow:0.6)")
    row = recorder.passes[0]["rows"].index(0)
    torch.testing.assert_close(recorder.passes[0]["k"][0][row], expected[0])


def test_what_it_says_of_itself(model, clip):
    assert text_towers(clip).family == "custom (qwen3_06b, 64 wide)" and not text_towers(clip).joint
    assert best_resolution(model) == 1024 and default_stages(model) == Stages(538, 836)
    check_across(model, "Face-Wise K/V Tokens", "")
    with pytest.raises(UnsupportedModel, match=r"Apply's mask works inside the layers of a UNet, .* \(Anima\)"):
        check_layers(model.model.diffusion_model)


def test_text_that_is_as_wide_but_of_another_kind_is_refused_and_both_are_named(model, clip):
    with pytest.raises(UnsupportedModel, match=r"takes text 64 wide \(Anima\), but this CLIP is custom \(clip_h, 64"):
        check_text(model, tiny_models.clip("sd2"))
    with pytest.raises(UnsupportedModel, match=r"takes text 64 wide \(SD1.x, SD2.x, SDXL\), but .* \(qwen3_06b, 64"):
        check_text(tiny_models.model(), clip)
    with pytest.raises(
        ValueError, match=r"learned for 'custom \(clip_h, 64 wide\)', but this MODEL takes .* \(Anima\)"
    ):
        check_persona(model, tiny_models.persona(tiny_models.clip("sd2")))
    with pytest.raises(ValueError, match=r"\(qwen3_06b, 64 wide\)', but this MODEL takes text 64 wide \(SD1.x"):
        check_persona(tiny_models.model(), tiny_models.persona(clip))
    check_persona(model, tiny_models.persona(clip))


def test_a_vae_of_pictures_is_refused():
    with pytest.raises(UnsupportedModel, match="makes latents of pictures, but this MODEL takes those of videos"):
        check_vae(tiny_models.anima(channels=16), tiny_models.vae(16))
    check_vae(tiny_models.anima(channels=16), tiny_models.video_vae())


def test_pictures_are_frames_to_its_vae(job, model):
    """One by one, as several would be one video; with a small VAE of the kind that it comes with."""
    vae = tiny_models.video_vae()
    photos = [replace(job.photos[0], image=image) for image in torch.rand(2, 64, 48, 3)]
    photos = [replace(photo, mask=torch.ones(64, 48)) for photo in photos]
    latents, masks = latents_of(frames := tiny_models.anima(channels=16), vae, photos)
    assert latents.shape == (2, 16, 8, 6) and masks.shape == (2, 1, 8, 6)
    for photo, one in zip(photos, latents):
        theirs = frames.model.process_latent_in(vae.encode(photo.image[None]))
        torch.testing.assert_close(one, theirs[0, :, 0])
    pictures = decode(frames, vae, latents[:1])
    theirs = vae.decode(frames.model.process_latent_out(latents[:1].unsqueeze(2)))
    assert pictures.shape == (1, 64, 48, 3) and torch.equal(pictures, theirs[0])


def test_the_attention_loss_compares_tokens_and_not_what_fills_up(job, model, clip):
    """Of 512 that the layers look at, a prompt has a few: as if the maps of all were made, and the others left out."""
    recipe = KVTokensRecipe(supercategory="face")
    with opened(model, clip, recipe) as task:
        with torch.no_grad():
            for weight in task.representation.parameters():
                weight.add_(0.1 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(1)))
        step = forward(task, sample_batch(task, 0))
        tokens = (step.encoding.keys != 0).any(-1)
        assert step.encoding.keys.shape[1] == 512 and (tokens.sum(1) < 20).all()
        whole = torch.stack([attention_difference(one, tokens) for one in step.attentions]).mean()
        found = FaceWiseAttention(1.0)(step)
        diluted = torch.stack([attention_difference(one, torch.ones_like(tokens)) for one in step.attentions]).mean()
    assert float(found) == pytest.approx(float(whole), rel=1e-4) and float(found) > 2 * float(diluted)


@pytest.mark.parametrize("caption", ["a (red:1.5) hat", "(red) hat"])
def test_weights_in_a_caption_are_refused_as_in_other_families(model, clip, caption):
    with differentiable(model, clip.patcher), torch.no_grad(), pytest.raises(ValueError, match="plain words"):
        text_encoder(model, clip, 1, "face").check([f"a photo of a {{}}, {caption}"])


def test_places_are_those_of_the_target_tokens(model, clip):
    r"""Of `\(`, which the host reads as a bracket, too."""
    with differentiable(model, clip.patcher), torch.no_grad():
        ids, persona, words = text_encoder(model, clip, 1, "face").targets_of(r"artoria \(fate\), a {}")
    tokens = clip.tokenizer.t5xxl.tokenizer.convert_ids_to_tokens(ids.tolist())
    assert len(ids) == len(persona) == len(words)
    assert [token for token, its in zip(tokens, persona) if its] == ["▁face"]


def test_previews_are_painted(job, clip, tmp_path, monkeypatch):
    monkeypatch.setattr(preview, "watched", lambda: True)
    monkeypatch.setattr(preview.Pace, "due", lambda self, progress: True)
    shown = []
    recipe = replace(job.recipe, learning=replace(job.recipe.learning, steps=2))
    job = replace(job, model=tiny_models.anima(channels=16), clip=clip, vae=tiny_models.video_vae(), recipe=recipe)
    train_persona(job, "f" * 32, tmp_path / "p", lambda _: None, on_preview=lambda *one: shown.append(one))
    assert shown
