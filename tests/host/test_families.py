"""Every family that personas are for: what is learned, and what the UNet is then given, against the host's own ways."""

from dataclasses import dataclass, replace

import pytest
import tiny_models
import torch
from recording import Recorder, at_the_layers, encode, sample

from persona_core.host.adapter import IDS, WEIGHTS
from persona_core.host.apply.encoding import apply_to_clip
from persona_core.host.apply.sampling import TABLE, apply_to_model
from persona_core.host.clip import UnsupportedModel, text_towers
from persona_core.host.learn.adapted_text import text_encoder
from persona_core.host.learn.attention_curve import attention_curve
from persona_core.host.learn.autograd import differentiable
from persona_core.host.learn.frozen import frozen
from persona_core.host.learn.latents import of_videos
from persona_core.host.learn.run import train_persona
from persona_core.host.learn.text import DifferentiableText
from persona_core.host.model import is_flow
from persona_core.persona import Persona
from persona_core.recipes import KVTokensRecipe, StageMapperRecipe
from persona_core.representation import TokenVectors
from persona_core.table import AppliedPersona


@dataclass(frozen=True)
class Family:
    clip: str = "sd1"
    velocity: bool = False
    in_channels: int = 4

    def make(self):
        if self.clip in ("z_image", "anima"):
            return getattr(tiny_models, self.clip)(), tiny_models.clip(self.clip)
        sdxl = self.clip == "sdxl"
        model = tiny_models.model(self.velocity, in_channels=self.in_channels, sdxl=sdxl)
        return model, tiny_models.clip(self.clip)


FAMILIES = {
    "sd1": Family(),
    "sd1 in-painting": Family(in_channels=9),
    "sd2": Family("sd2"),
    "sd2 v-prediction": Family("sd2", velocity=True),
    "sdxl": Family("sdxl"),
    "sdxl v-prediction": Family("sdxl", velocity=True),
    "sdxl in-painting": Family("sdxl", in_channels=9),
    "z-image": Family("z_image"),
}
if "anima" in tiny_models.CLIPS:
    FAMILIES["anima"] = Family("anima")
RECIPES = {
    "mapper": StageMapperRecipe(attention_weight=3e-3),
    "pairs": KVTokensRecipe(supercategory="face", te_weight=1e-3),
    "mapper without attention loss": StageMapperRecipe(),
    "mapper of a word of two tokens": StageMapperRecipe(supercategory="plushie", context_weight=0.1),
}
# In Z-Image text and picture attend jointly: what looks across at the text is refused there.
LESSONS = [(family, kind) for family in FAMILIES if family != "z-image" for kind in ("mapper", "pairs")]
LESSONS += [("z-image", "mapper without attention loss")]
LESSONS += [(family, "mapper of a word of two tokens") for family in ("sd1", "sd2", "sdxl", "z-image")]


def clip_is_joint(clip):
    return text_towers(clip).joint


@pytest.fixture(params=FAMILIES)
def taught(request, job):
    model, clip = FAMILIES[request.param].make()
    return replace(job, model=model, clip=clip)


@pytest.fixture
def learned(taught, tmp_path):
    def learn(kind) -> Persona:
        recipe = replace(RECIPES[kind], resolution=64, learning=replace(taught.recipe.learning, steps=4))
        return train_persona(replace(taught, recipe=recipe), "f" * 32, tmp_path / "partial", lambda progress: None)

    return learn


@pytest.mark.parametrize("taught, kind", LESSONS, indirect=["taught"])
def test_it_learns_and_its_table_is_what_was_learned_with(taught, learned, kind, tmp_path):
    clip, persona = taught.clip, learned(kind)
    assert persona.family == text_towers(clip).family
    with torch.no_grad():
        moved = persona.representation.at(torch.tensor([600.0]))
        assert (moved.keys - persona.representation.initializers).norm() > 1e-4
    again = Persona.load(persona.save(tmp_path / "ann.safetensors"))
    assert again.representation.widths == text_towers(clip).widths
    applied = apply_to_clip(clip, AppliedPersona(persona), "<ann>")
    (context, extra), (plain, host) = (
        encode(one, f"a photo of {word}")[0] for one, word in ((applied, "<ann>"), (clip, persona.supercategory))
    )
    assert torch.equal(context.as_subclass(torch.Tensor)[:, : plain.shape[1]], plain)
    pooled = extra["pooled_output"], host["pooled_output"]
    assert pooled[0] is pooled[1] is None or torch.equal(*pooled)
    with differentiable(clip.patcher), torch.no_grad():
        vectors = persona.representation.at(torch.tensor([600.0]))
        ours = DifferentiableText(clip, persona.representation.tokens, "face").encode(["a photo of {}"], vectors)
    expected = (ours.values, ours.values) if clip_is_joint(clip) else (ours.keys, ours.values)
    for one, other in zip(extra[TABLE].at(600), expected, strict=True):
        torch.testing.assert_close(one, other, atol=3e-5, rtol=1e-4)


@pytest.mark.parametrize("taught, kind", LESSONS, indirect=["taught"])
def test_the_sampled_rows_get_their_table_and_nothing_else_changes(taught, learned, kind):
    model, persona = taught.model, learned(kind)
    clip = apply_to_clip(taught.clip, AppliedPersona(persona), "<ann>")
    positive, negative = encode(clip, "a photo of <ann> in snow"), encode(clip, "")
    plain = encode(taught.clip, f"a photo of {persona.supercategory} in snow")
    recorder = Recorder(model)
    sample(apply_to_model(model, "<ann>"), positive, negative)
    seen, recorder.passes = recorder.passes, []
    sample(model, plain, negative)
    table = positive[0][1][TABLE]
    for mine, theirs in zip(seen, recorder.passes, strict=True):
        if mine["rows"] == [1]:  # prompts of different lengths do not go together
            assert all(torch.equal(*both) for side in "kv" for both in zip(mine[side], theirs[side], strict=True))
            continue
        row = mine["rows"].index(0)
        assert mine["rows"] == theirs["rows"] and mine["t"] == theirs["t"]
        if mine["y"] is not None:
            assert torch.equal(mine["y"], theirs["y"])
        for side, expected in zip("kv", table.at(min(mine["t"], 999)), strict=True):
            expected = at_the_layers(model, expected, positive[0][1])
            for given, usual in zip(mine[side], theirs[side], strict=True):
                torch.testing.assert_close(given[row : row + 1], expected)
                assert len(given) == 1 or torch.equal(given[1 - row], usual[1 - row])


def test_the_prediction_is_the_hosts(taught):
    """Learning sees the MODEL as the host runs it: with the size and pooled text of SDXL, the mask of in-painting."""
    model, clip = taught.model, taught.clip
    with differentiable(model, clip.patcher), torch.no_grad():
        denoiser, text = frozen(model), text_encoder(model, clip, 1, "face")
        word = text.towers.word("face")[None, None]
        encoding = text.encode(["a photo of a {}"], TokenVectors(word, word))
        noise = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
        t = torch.tensor([600])
        ours = denoiser.predict(noise, t, encoding.keys, encoding.values, encoding.pooled)
        context, extra = encode(clip, "a photo of a face")[0]
        given = {name: value for name, value in extra.items() if name == "pooled_output" and value is not None}
        if is_flow(model):
            given |= {"cross_attn": context, **{name: extra[name] for name in (IDS, WEIGHTS) if name in extra}}
        conds = model.model.extra_conds(
            noise=noise, latent_image=noise, device=noise.device, width=64, height=64, **given
        )
        sampling = model.get_model_object("model_sampling")
        sigma = t / 1000 if is_flow(model) else sampling.sigma(t)
        x = noise if is_flow(model) else noise * (sigma**2 + sampling.sigma_data**2) ** 0.5
        conds = {"c_crossattn": context, **{name: cond.cond for name, cond in conds.items()}}
        if of_videos(model):
            noise, x, ours = (one.unsqueeze(2) for one in (noise, x, ours))
        denoised = model.model.apply_model(x, sigma, **conds)
        torch.testing.assert_close(sampling.calculate_denoised(sigma, ours, x), denoised, atol=2e-3, rtol=1e-3)


def test_stages_are_found_from_its_attention(taught):
    curve = attention_curve(
        taught.model, taught.clip, taught.vae, taught.photos[0], "face", 250, 2, 0, lambda done, total: None
    )
    assert curve.iou.shape == (4,) and torch.isfinite(curve.iou).all() and curve.maps.std() > 0


def test_sdxls_encoders_each_get_their_own_part(make_persona_of):
    """Against the host's two encoders called one by one, with the bypass added by hand: SDXL norms no context."""
    clip, persona = tiny_models.clip("sdxl"), make_persona_of("sdxl", tokens=2)
    applied = apply_to_clip(clip, AppliedPersona(persona), "<ann>")
    keys, values = encode(applied, "a <ann> in snow")[0][1][TABLE].at(600)
    vectors, word = persona.representation.at(torch.tensor([600.0])), persona.representation.word
    contexts = []
    for name, part, padding in (("clip_l", slice(0, 64), 49407), ("clip_g", slice(64, 192), 0)):
        mine = vectors.keys[0, :, part]
        torch.testing.assert_close(mine.norm(dim=-1), word[part].norm().expand(2))
        tokens = [49406, 320, *mine, 530, 2583, 49407]
        hidden = getattr(clip.cond_stage_model, name).encode([tokens + [padding] * (77 - len(tokens))])[0][0]
        torch.testing.assert_close(keys[0, :, part], hidden, atol=2e-5, rtol=1e-4)
        for n in range(2):
            h = hidden[2 + n].clone()
            changed = h + vectors.bypass[0, n, part]
            hidden[2 + n] = changed / changed.norm() * h.norm()
        contexts.append(hidden)
    torch.testing.assert_close(values[0], torch.cat(contexts, -1), atol=2e-5, rtol=1e-4)


def test_prompts_of_sdxls_encoders_may_differ(make_persona_of):
    """CLIP Text Encode SDXL takes two texts: the placeholder may stand in one, or at different places."""
    clip = tiny_models.clip("sdxl")
    applied = apply_to_clip(clip, AppliedPersona(make_persona_of("sdxl")), "<ann>")
    for l_text, g_text in (("a <ann>", "snow"), ("snow", "a <ann>"), ("a <ann> in snow", "in snow: <ann>")):
        tokens = {"l": applied.tokenize(l_text)["l"], "g": applied.tokenize(g_text)["g"]}
        context, extra = applied.encode_from_tokens_scheduled(tokens)[0]
        plain = {side: clip.tokenize(text.replace("<ann>", "face"))[side] for side, text in zip("lg", (l_text, g_text))}
        assert torch.equal(context, clip.encode_from_tokens_scheduled(plain)[0][0])
        changed = (extra[TABLE].at(600)[0] - context).abs().sum((0, 1)).split([64, 128])
        assert [bool(part.sum() > 1e-3) for part in changed] == ["<ann>" in l_text, "<ann>" in g_text]


@pytest.mark.parametrize("learned_for", tiny_models.FAMILIES)
@pytest.mark.parametrize("used_with", tiny_models.FAMILIES)
def test_a_persona_of_another_family_is_refused_and_both_are_named(make_persona_of, learned_for, used_with):
    persona, clip = make_persona_of(learned_for), tiny_models.clip(used_with)
    if learned_for == used_with:
        assert apply_to_clip(clip, AppliedPersona(persona), "<ann>")
        return
    with pytest.raises(ValueError) as refused:
        apply_to_clip(clip, AppliedPersona(persona), "<ann>")
    assert persona.family in str(refused.value) and text_towers(clip).family in str(refused.value)


def test_the_refiner_is_named(make_persona_of):
    with pytest.raises(UnsupportedModel, match="SDXLRefinerClipModel.*its base, not its refiner"):
        apply_to_clip(tiny_models.clip("refiner"), AppliedPersona(make_persona_of("sdxl")), "<ann>")
