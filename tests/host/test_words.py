"""Supercategories that the text encoder splits into several tokens, in every family."""

from dataclasses import replace

import pytest
import tiny_models
import torch
from recording import encode_one

from persona_core.host.apply.attention_view import words_at
from persona_core.host.apply.encoding import apply_to_clip
from persona_core.host.apply.sampling import TABLE
from persona_core.host.clip import text_towers
from persona_core.host.learn.attention_curve import attention_curve
from persona_core.host.learn.autograd import differentiable
from persona_core.host.learn.frozen import frozen
from persona_core.host.learn.run import train_persona
from persona_core.host.learn.text import DifferentiableText
from persona_core.recipes import KVTokensRecipe, StageMapperRecipe
from persona_core.table import AppliedPersona

WORD = "plushie"  # two tokens in CLIP's vocabulary and in Qwen's; there three without a space before it
KINDS = "sd1", "sd2", "sdxl", "z_image"
PROMPTS = "a photo of {} in snow", "{}, in the (deep:1.3) snow", "{} and {}"
LONG = "({}:1.2) and " + "very " * 60 + "red {} in snow and in a garden full of old trees"
CASES = [(kind, text) for kind in KINDS for text in PROMPTS] + [(kind, LONG) for kind in KINDS if kind != "z_image"]


@pytest.fixture
def plush(make_persona):
    return make_persona(supercategory=WORD)


@pytest.mark.parametrize(("family", "text"), CASES)
def test_where_it_does_not_stand_the_prompt_is_the_hosts(make_persona_of, family, text):
    clip, persona = tiny_models.clip(family), make_persona_of(family, supercategory=WORD)
    plain, beside = encode_one(clip, text.format(*2 * [WORD]))
    for strength in (0.0, 1.0):
        applied = apply_to_clip(clip, AppliedPersona(persona, strength), "<ann>")
        context, extra = encode_one(applied, text.format("<ann>", "<ann>"))
        if strength and plain.shape[1] > 77:
            continue  # where a long prompt is cut depends on how many tokens the persona has
        assert torch.equal(context.as_subclass(torch.Tensor)[:, : plain.shape[1]], plain)
        if strength:
            base = extra[TABLE].at(900)[1]
            assert torch.equal(base[:, : plain.shape[1]], plain) and not base[:, plain.shape[1] :].any()
            assert not torch.equal(extra[TABLE].at(600)[1], base)
        assert beside["pooled_output"] is None or torch.equal(extra["pooled_output"], beside["pooled_output"])


@pytest.mark.parametrize("family", ["sd1", "z_image"])
def test_the_context_is_preserved_as_beside_the_words_own_tokens(make_persona_of, family):
    """The last of them at each token that is left, so that the other words keep their places."""
    clip, persona = tiny_models.clip(family), make_persona_of(family, supercategory=WORD)
    tower = text_towers(clip).first
    first, last = tower.word_ids(WORD)
    text = "a photo of {} in deep snow"
    section = clip.tokenize(text.format(WORD))[tower.key][0]
    ids = [token for token, _ in section]
    at = ids.index(first)
    pairs = [*section[: at + 2], (last, 1.0), (last, 1.0), *section[at + 2 :]][: len(section) + 2 * clip_grows(clip)]
    beside = clip.cond_stage_model.encode_token_weights({tower.key: [pairs]})[0]
    applied = apply_to_clip(clip, AppliedPersona(persona, context_preservation=1.0), "<ann>")
    found = encode_one(applied, text.format("<ann>"))[1][TABLE].at(600)[1]
    others = torch.ones(found.shape[1], dtype=torch.bool)
    others[at : at + 4] = False
    torch.testing.assert_close(found[:, others], beside[:, others], atol=3e-5, rtol=1e-4)
    assert not torch.allclose(found[:, ~others], beside[:, ~others], atol=1e-3)


def clip_grows(clip) -> bool:
    """Whether prompts are as long as they are."""
    return text_towers(clip).joint


def test_key_locking_and_strength_go_back_to_the_words_own_tokens(plush):
    word, representation = plush.representation.word, plush.representation
    learned = representation.at(torch.tensor([600.0])).keys[0]
    locked = AppliedPersona(plush, key_locking=1.0).vectors(600)
    torch.testing.assert_close(locked.keys[0], word[[0, 1, 1, 1]])
    torch.testing.assert_close(locked.values[0], learned)
    torch.testing.assert_close(learned.norm(dim=-1), word.norm(dim=-1)[[0, 1, 1, 1]])


def test_its_place_is_that_of_all_its_tokens(clip, plush):
    mask = torch.ones(64, 64)
    applied = apply_to_clip(clip, AppliedPersona(plush, mask=mask), "<ann>")
    table = encode_one(applied, "a <ann> in snow")[1][TABLE]
    for t, places in ((600, [2, 3, 4, 5]), (900, [2, 3])):
        assert table.places_at(t)[0].tokens[0].nonzero().flatten().tolist() == places


@pytest.mark.parametrize("strength", [1.0, 0.0])
def test_persona_attention_counts_its_tokens(clip, plush, strength):
    tower = text_towers(clip).first
    applied = apply_to_clip(clip, AppliedPersona(plush, strength), "<ann>")
    section = applied.tokenize("a <ann> cup")[tower.key][0]
    early, dynamic = (dict(words_at(section, t, tower)) for t in (900, 600))
    assert early["<ann>"] == [2, 3] and early["cup"] == [4]
    assert dynamic["<ann>"] == ([2, 3, 4, 5] if strength else [2, 3])


@pytest.mark.parametrize("family", ["sdxl", "z_image"])
def test_what_the_encoders_make_of_it_is_what_they_make_of_each_token(family):
    clip = tiny_models.clip(family)
    with differentiable(clip.patcher), torch.no_grad():
        text = DifferentiableText(clip, 3, WORD)
        word = text.towers.word(WORD)
        found = text.output_of(word)
        assert found.shape == word.shape == (2, text.towers.width)
        same = text.output_of(word[:1].expand(2, -1))  # one token twice, and once: the first ends there alike
        torch.testing.assert_close(found[0], same[0])
        torch.testing.assert_close(same[1], text.output_of(word[0]))


@pytest.mark.parametrize("family", ["sd1", "z_image"])
def test_where_it_looks_is_the_mean_over_its_tokens(job, family):
    z_image = family == "z_image"
    model, clip = tiny_models.z_image() if z_image else job.model, tiny_models.clip(family)
    curve = attention_curve(model, clip, job.vae, job.photos[0], "axolotl", 250, 1, 0, lambda *_: None)
    assert curve.maps.isfinite().all() and curve.maps.std() > 0
    with differentiable(model, clip.patcher), torch.no_grad():
        generator = torch.Generator().manual_seed(0)
        noisy, context = torch.randn(1, 4, 8, 8, generator=generator), torch.randn(1, 9, 64, generator=generator)
        denoiser, t = frozen(model), torch.tensor([600])
        both, *each = (denoiser.attention_map(noisy, t, context, tokens) for tokens in ([3, 5], [3], [5]))
        torch.testing.assert_close(both, torch.stack(each).mean(0))


@pytest.mark.parametrize(
    ("recipe", "says"),
    [
        (StageMapperRecipe(supercategory=WORD, tokens=1), "makes 2 tokens.*the persona has 1. Set tokens to 2 or more, or"),
        (StageMapperRecipe(supercategory="axolotl", tokens=3), "the persona has 3. Set tokens to 4, or use a simpler word"),
        (StageMapperRecipe(supercategory="a very fluffy red cat"), "makes 5 tokens in this text encoder, but a persona of this kind has at most 4. Use a"),
        (KVTokensRecipe(supercategory=WORD), "supercategory 'plushie' makes 2 tokens.*at most 1. Use a simpler word, such as 'face'"),
        (KVTokensRecipe(reference=WORD), "reference word 'plushie' makes 2 tokens"),
        (StageMapperRecipe(supercategory="  "), "supercategory '  ' must be a common word, such as 'face'"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("family", ["sd1", "z_image"])
def test_words_without_room_are_refused_with_advice(family, recipe, says):
    with pytest.raises(ValueError, match=says):
        text_towers(tiny_models.clip(family)).check_words(recipe)


def test_a_word_that_has_room_is_none_of_the_losses_business_where_they_are_off(clip):
    towers = text_towers(clip)
    towers.check_words(KVTokensRecipe(reference=WORD, attention_weight=0.0))
    towers.check_words(StageMapperRecipe(supercategory=WORD, tokens=2, attention_weight=1.0, context_weight=1.0))


def test_encoders_that_split_it_differently_are_told(monkeypatch):
    towers = text_towers(tiny_models.clip("sdxl"))
    split = type(towers.first).ids
    monkeypatch.setattr(type(towers.first), "ids", lambda self, word: split(self, word)[self.name == "clip_g" :])
    with pytest.raises(ValueError, match="'axolotl' makes 4 tokens in clip_l and 3 tokens in clip_g. Use a word that"):
        towers.word("axolotl")


def test_a_file_whose_word_is_another_than_it_says_is_refused(clip, plush):
    for said, has in (("face", 1), ("axolotl", 4)):
        with pytest.raises(ValueError, match=f"'ann' began at 2 of.*supercategory '{said}' makes {has} in this CLIP"):
            apply_to_clip(clip, AppliedPersona(replace(plush, supercategory=said)), "<ann>")


def test_all_losses_learn_with_it(job, tmp_path):
    """The losses' reference words are as many tokens."""
    recipe = StageMapperRecipe(
        supercategory=WORD, resolution=64, tokens=3, attention_weight=3e-3, context_weight=0.1, weights="relative",
        learning=replace(job.recipe.learning, steps=3),
    )  # fmt: skip
    persona = train_persona(replace(job, recipe=recipe), "f" * 32, tmp_path / "partial", lambda progress: None)
    assert set(persona.losses) == {"noise", "context", "equilibrium", "attention"}
    assert all(any(values) for values in persona.losses.values())
    word = persona.representation.word
    lengths = persona.representation.at(torch.tensor([600.0])).keys[0].norm(dim=-1)
    torch.testing.assert_close(lengths, word.norm(dim=-1)[[0, 1, 1]])


@pytest.mark.parametrize("word", ["(cat)", "embedding:cat", "cat:1.2", "a\\(b"])
@pytest.mark.parametrize("family", ["sd1", "sdxl", "z_image"])
def test_what_prompts_use_for_weights_and_embeddings_is_no_word(family, word):
    with pytest.raises(ValueError, match="must be a common word, .* without brackets and colons"):
        text_towers(tiny_models.clip(family)).check_words(StageMapperRecipe(supercategory=word))
