"""A persona in the pictures of a flow-matching transformer: what its layers are given at each step."""

import comfy.samplers
import pytest
import tiny_models
import torch
from comfy_extras.nodes_model_advanced import ModelSamplingAuraFlow, ModelSamplingSD3
from recording import at_the_layers, encode, sample

from nodes import ConditioningAverage, ConditioningConcat
from persona_core.host.apply.encoding import apply_to_clip
from persona_core.host.apply.sampling import TABLE, apply_to_model, without_padding
from persona_core.host.clip import UnsupportedModel
from persona_core.host.learn.adapted_text import text_encoder
from persona_core.host.learn.autograd import differentiable
from persona_core.host.model import attends_jointly, check_supported, shift_of
from persona_core.table import AppliedPersona

TEXT, PLAIN = "a photo of <ann> in snow", "a photo of face in snow"


class Contexts:
    """What a transformer is given: (t, context of each row)."""

    def __init__(self, model):
        self.passes = []
        model.model.diffusion_model.register_forward_pre_hook(self.seen, with_kwargs=True)

    def seen(self, module, args, kwargs):
        rows = kwargs["transformer_options"]["cond_or_uncond"]
        assert kwargs.get("num_tokens") in (None, kwargs["context"].shape[1])
        for row, context in zip(rows, kwargs["context"]):
            if row == 0:
                self.passes.append((1000 * float(args[1][0]), context.clone()))


@pytest.fixture(scope="module", params=tiny_models.FLOWS)
def family(request):
    return request.param


@pytest.fixture
def model(family):
    return getattr(tiny_models, family)()


def applied(clip, persona, placeholder="<ann>", **how):
    return apply_to_clip(clip, AppliedPersona(persona, **how), placeholder)


def learned_with(model, clip, persona, t, prompt):
    """The contexts of K and V that learning has at t: one, where text and picture attend jointly."""
    with differentiable(model, clip.patcher), torch.no_grad():
        vectors = persona.representation.at(torch.tensor([float(t)]))
        text = text_encoder(model, clip, persona.representation.tokens, "face")
        found = text.encode([prompt.replace("<ann>", "{}")], vectors)
    return found.values if attends_jointly(model) else found.keys, found.values


def test_each_step_gets_the_persona_of_its_noise_level_or_the_plain_prompt(model, clip, persona):
    contexts = Contexts(model)
    sample(apply_to_model(model, "<ann>"), encode(applied(clip, persona), TEXT), encode(clip, ""), steps=12)
    [plain] = at_the_layers(model, *encode(clip, PLAIN)[0])
    stages = {"early": [], "dynamic": [], "late": []}
    for t, context in contexts.passes:
        stages["early" if t > 836.5 else "dynamic" if t >= 538 else "late"].append((t, context))
    assert all(len(some) >= 2 for some in stages.values())
    assert all(torch.equal(context, plain) for _, context in stages["early"])
    extra = encode(applied(clip, persona), TEXT)[0][1]
    for t, context in stages["dynamic"] + stages["late"]:
        keys = extra[TABLE].at(t)[0]
        assert int(keys[0].any(-1).sum()) == encode(clip, PLAIN)[0][0].shape[1] + 3  # four tokens, not the word's one
        torch.testing.assert_close(context, at_the_layers(model, keys, extra)[0])
    last = learned_with(model, clip, persona, 538, TEXT)[0][0]
    for _, context in stages["late"]:
        torch.testing.assert_close(context, last, atol=3e-5, rtol=1e-4)


@pytest.mark.parametrize("text", [TEXT, "<ann>, laughing", "the face of <ann>", "<ann> beside a <ann>"])
def test_the_table_is_what_was_learned_with_and_its_base_is_the_hosts(model, clip, persona, text):
    (context, extra) = encode(applied(clip, persona), text)[0]
    word = text.replace("<ann>", "face")
    plain = encode(clip, word)[0][0]
    length = plain.shape[1]
    assert torch.equal(context.as_subclass(torch.Tensor)[:, :length], plain) and not context[:, length:].any()
    assert extra["attention_mask"].shape == context.shape[:2] and extra["attention_mask"].all()
    if text.count("<ann>") == 1:
        for t in (538, 698, 836):
            ours = learned_with(model, clip, persona, t, text)
            for side, learned in zip(extra[TABLE].at(t), ours, strict=True):
                torch.testing.assert_close(at_the_layers(model, side, extra), learned, atol=3e-5, rtol=1e-4)


def test_two_personas_of_different_stages_and_lengths(clip, persona):
    bob = tiny_models.persona(clip, "bob", 600, 700, tokens=2, seed=1)
    both = applied(applied(clip, persona), bob, "<bob>", late="supercategory")
    context, extra = encode(both, "<ann> and <bob>")[0]
    lengths = {t: int(extra[TABLE].at(t)[1][0].any(-1).sum()) for t in (900, 800, 650, 560)}
    plain = encode(clip, "face and face")[0][0].shape[1]
    assert lengths == {900: plain, 800: plain + 3, 650: plain + 4, 560: plain + 3}
    assert context.shape[1] == plain + 4


def test_a_prompt_without_a_persona_and_a_model_without_one_are_untouched(model, clip, persona):
    plain, taught = encode(clip, PLAIN), encode(applied(clip, persona), PLAIN)
    assert torch.equal(plain[0][0], taught[0][0]) and TABLE not in taught[0][1]
    before = sample(model, plain, encode(clip, ""))
    sample(apply_to_model(model, "<ann>"), encode(applied(clip, persona), TEXT), encode(clip, ""))
    assert torch.equal(before, sample(model, plain, encode(clip, "")))


def test_at_strength_nought_it_is_the_plain_prompts_picture(model, clip, persona):
    nobody = encode(applied(clip, persona, strength=0.0), TEXT)
    found = sample(apply_to_model(model, "<ann>"), nobody, encode(clip, ""))
    assert torch.equal(found, sample(model, encode(clip, PLAIN), encode(clip, "")))


@pytest.mark.parametrize("sampler", comfy.samplers.KSampler.SAMPLERS)
def test_every_sampler_follows_the_persona(model, clip, persona, sampler):
    """Each pass gets what stands at its own noise level, wherever a sampler goes in between."""
    contexts, positive = Contexts(model), encode(applied(clip, persona), TEXT)
    found = sample(apply_to_model(model, "<ann>"), positive, encode(clip, ""), sampler=sampler, steps=4, cfg=1.5)
    extra, moved = positive[0][1], set()
    for t, context in contexts.passes:
        keys = extra[TABLE].at(min(t, 999))[0]
        torch.testing.assert_close(context, at_the_layers(model, keys, extra)[0])
        moved.add(keys is extra[TABLE].base)
    assert found.isfinite().all() and moved == {True, False}


@pytest.mark.parametrize(("steps", "scheduler"), [(8, "simple"), (4, "simple"), (4, "beta")])
def test_few_steps_without_guidance_are_another_picture(model, clip, persona, steps, scheduler):
    how = dict(scheduler=scheduler, steps=steps, cfg=1.0)
    found = sample(apply_to_model(model, "<ann>"), encode(applied(clip, persona), TEXT), encode(clip, ""), **how)
    plain = sample(model, encode(clip, PLAIN), encode(clip, ""), **how)
    assert found.isfinite().all() and (found - plain).abs().max() > 1e-4


def test_it_is_said_which_of_few_steps_have_the_persona(model, clip, persona, caplog):
    """Four steps of a turbo model, and two that both lie above its stage."""
    bob = tiny_models.persona(clip, "bob", 100, 300)
    with caplog.at_level("INFO", logger="persona"):
        prompt = encode(applied(clip, persona), TEXT), encode(clip, "")
        sample(apply_to_model(model, "<ann>"), *prompt, steps=4, scheduler="simple")
        prompt = encode(applied(clip, bob, late="supercategory"), TEXT), encode(clip, "")
        sample(apply_to_model(model, "<ann>"), *prompt, steps=4, scheduler="simple")
    said = [record.getMessage() for record in caplog.records]
    assert "<ann>: in 2 of 4 steps, t 750, 500" in said
    assert any(
        one.startswith("None of the 4 steps has noise of the stage in which <ann> stands: they are") for one in said
    )


def test_concat_joins_what_stands_at_each_step(model, clip, persona):
    contexts = Contexts(model)
    [joined] = ConditioningConcat().concat(encode(applied(clip, persona), TEXT), encode(clip, "in a garden"))
    sample(apply_to_model(model, "<ann>"), joined, encode(clip, ""), steps=8)
    garden = encode(clip, "in a garden")[0][0]
    extra = encode(applied(clip, persona), TEXT)[0][1]
    for t, context in contexts.passes:
        own = extra[TABLE].at(min(t, 999))[0]
        whole = torch.cat([own[:, own[0].any(-1)], garden], 1)
        torch.testing.assert_close(context, at_the_layers(model, whole, extra)[0])


def test_average_weighs_what_stands_at_each_step(model, clip, persona):
    [mixed] = ConditioningAverage().addWeighted(encode(applied(clip, persona), TEXT), encode(clip, "a photo"), 0.7)
    found = sample(apply_to_model(model, "<ann>"), mixed, encode(clip, ""))
    [plain] = ConditioningAverage().addWeighted(encode(clip, PLAIN), encode(clip, "a photo"), 0.7)
    assert found.isfinite().all() and not torch.equal(found, sample(model, plain, encode(clip, "")))


@pytest.mark.parametrize(("share", "first"), [(0.125, 955), (0.25, 900), (0.5, 750), (0.0, 1000)])
def test_a_share_of_the_sampling_is_the_hosts(model, clip, persona, share, first):
    """The steps of Conditioning (Set Timestep Range) with the same start."""
    use = AppliedPersona(persona, early="persona", start_at=share, shift=shift_of(model))
    assert use.reach[1] == min(first, 999) and AppliedPersona(persona, start_at=0.5).reach == (0, 499)


def test_rows_of_different_prompts_keep_their_tokens():
    """Packs that schedule prompts join contexts; only what no row has is no token."""
    rows = torch.ones(2, 6, 4)
    rows[0, 3:], rows[1, 5:] = 0, 0
    assert torch.equal(without_padding(rows), rows[:, :5]) and without_padding(torch.zeros(1, 3, 4)).shape[1] == 3


def test_modelsamplingsd3_is_not_for_it(model):
    [patched] = ModelSamplingSD3().patch(model, 3.0)
    with pytest.raises(UnsupportedModel, match="only ModelSamplingAuraFlow is for it"):
        check_supported(patched)
    [patched] = ModelSamplingAuraFlow().patch_aura(model, 6.0)
    check_supported(patched)
    assert shift_of(patched) == 6.0 and shift_of(tiny_models.model()) is None
