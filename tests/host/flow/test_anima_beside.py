"""Anima's adapter while others are at work: areas, hooks, samplings within samplings, other MODELs."""

import comfy.hooks
import comfy.samplers
import pytest
import tiny_models
import torch
from comfy.patcher_extension import WrappersMP
from recording import Recorder, at_the_layers, encode, sample

from nodes import ConditioningSetArea
from persona_core.host.apply.context import PersonaNotFollowed
from persona_core.host.apply.encoding import apply_to_clip
from persona_core.host.apply.sampling import TABLE, WARNED, apply_to_model
from persona_core.host.clip import UnsupportedModel
from persona_core.table import AppliedPersona

if "anima" not in tiny_models.CLIPS:
    pytest.skip("this ComfyUI has no Anima", allow_module_level=True)


@pytest.fixture
def model():
    return tiny_models.anima()


@pytest.fixture(scope="module")
def clip():
    return tiny_models.clip("anima")


@pytest.fixture(scope="module")
def known(clip):
    ann, bob = (AppliedPersona(tiny_models.persona(clip, seed=seed)) for seed in (0, 1))
    return apply_to_clip(apply_to_clip(clip, ann, "<ann>"), bob, "<bob>")


def keys_at(model, conditioning, t):
    """What the layers are to get for K of an encoded prompt at t."""
    context, extra = conditioning[0]
    keys = extra[TABLE].at(min(t, 999.0))[0] if TABLE in extra else context
    return at_the_layers(model, keys, extra)[0]


@pytest.mark.parametrize("positive", ["a tree", "a photo of <ann> in snow"])
def test_an_areas_negative_is_the_negatives_own(model, known, positive):
    """The host copies an area of the positive into the negative, with the negative's context."""
    [area] = ConditioningSetArea().append(encode(known, positive), 32, 64, 0, 0, 1.0)
    negative = encode(known, "<bob>, ugly")
    recorder = Recorder(model)
    sample(apply_to_model(apply_to_model(model, "<ann>"), "<bob>"), area, negative, steps=4)
    rows = [(seen["t"], keys) for seen in recorder.passes for row, keys in zip(seen["rows"], seen["k"][0]) if row == 1]
    assert len(rows) > 4
    for t, keys in rows:
        torch.testing.assert_close(keys, keys_at(model, negative, t), atol=1e-4, rtol=1e-4)


def test_anothers_lora_hook_does_not_reach_the_adapter(model, known):
    """The host's adapter runs before sampling, without hooks."""
    torch.manual_seed(0)
    name = "diffusion_model.llm_adapter.out_proj.lora_"
    lora = {f"{name}up.weight": torch.randn(64, 4), f"{name}down.weight": torch.randn(4, 64)}
    [hooked] = comfy.hooks.set_conds_props(
        [encode(known, "bad")], strength=1.0, set_cond_area="default",
        hooks=comfy.hooks.create_hook_lora(lora, 1.0, 0.0), append_hooks=True,
    )  # fmt: skip
    positive = encode(known, "a photo of <ann>")
    recorder, word = Recorder(model), keys_at(model, positive, 999)
    sample(apply_to_model(model, "<ann>"), positive, hooked, steps=6)
    early = [
        keys for one in recorder.passes for row, keys in zip(one["rows"], one["k"][0]) if not row and one["t"] > 810
    ]
    assert len(early) > 1
    for keys in early:  # where the common word stands
        torch.testing.assert_close(keys, word, atol=1e-4, rtol=1e-4)


def test_a_sampling_within_another_follows_the_persona_too(model, known):
    """With the options of that, as of packs that sample in between."""
    positive, negative = encode(known, "a photo of <ann>"), encode(known, "")
    patched, inside = apply_to_model(model, "<ann>"), []
    usual = sample(patched, positive, negative, steps=3)

    def again(executor, noise, latents, sampler, sigmas, *args, **kwargs):
        if inside:
            return executor(noise, latents, sampler, sigmas, *args, **kwargs)
        inside.append(comfy.samplers.CFGGuider(patched))
        inside[0].set_conds(positive, negative)
        inside[0].set_cfg(5.0)
        inside[0].model_options = executor.class_obj.model_options
        return inside[0].sample(noise, latents, sampler, sigmas, seed=0)

    patched.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, "within", again)
    found = sample(patched, positive, negative, steps=3)
    assert inside and WARNED in inside[0].model_options["transformer_options"]
    torch.testing.assert_close(found, usual)


def test_where_no_run_is_known_it_stops_instead_of_painting_unadapted_text(model, known):
    patched = apply_to_model(model, "<ann>").clone()
    patched.model_options["transformer_options"][WARNED] = (
        True  # as if within another sampling, of which nothing is left
    )
    with pytest.raises(PersonaNotFollowed):
        sample(patched, encode(known, "a photo of <ann>"), encode(known, ""), steps=2)


def test_a_model_without_the_adapter_says_so(known):
    with pytest.raises(UnsupportedModel, match="encoded for Anima, but the sampler's MODEL is SD15"):
        sample(tiny_models.model(), encode(known, "a photo of <ann>"), encode(known, ""), steps=2)


@pytest.mark.parametrize("text", ["<ann>smiling", "embedding:<ann>smiling", "<ann><bob>", "so<ann>"])
def test_the_target_words_are_whole(known, clip, text):
    tokens = [token for token, _ in known.tokenize(text)["t5xxl"][0]]
    found = clip.tokenizer.t5xxl.tokenizer.convert_ids_to_tokens(tokens)
    assert found.count("▁face") == text.count("<")
