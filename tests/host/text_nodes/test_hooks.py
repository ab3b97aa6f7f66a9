"""What the host's hooks do to CLIP and conditionings."""

from functools import partial

import comfy.hooks
import pytest
import tiny_models
import torch
from comfy.patcher_extension import WrappersMP
from comfy_extras import nodes_hooks as hooks
from contexts import ANN_IN_SNOW, same
from neighbours import names_of_rows
from recording import Recorder, encode, sample

import nodes
from persona_core.host.apply.context import PersonaNotFollowed
from persona_core.host.apply.encoding import apply_to_clip
from persona_core.host.apply.sampling import HOOK, apply_to_model
from persona_core.table import AppliedPersona


@pytest.fixture
def lora_hooks(lora):
    """A LoRA for the first half of the sampling."""
    key = hooks.CreateHookKeyframe().create_hook_keyframe
    frames = key(0.0, 0.5, prev_hook_kf=key(1.0, 0.0)[0])[0]
    return hooks.SetHookKeyframes().set_hook_keyframes(hooks.CreateHookLora().create_hook(lora, 1.0, 1.0)[0], frames)[0]


@pytest.fixture
def model_hooks(clip):
    """A whole other checkpoint as a LoRA; the node keeps what it loaded last."""
    other, create = tiny_models.model(), hooks.CreateHookModelAsLora()
    tiny_models.fill(other.model.diffusion_model, 9)
    create.loaded_weights = (None, comfy.hooks.get_patch_weights_from_model(other), None)
    return create.create_hook("other.safetensors", 1.0, 0.0)[0]


@pytest.mark.parametrize("kind", ["lora_hooks", "model_hooks"])
def test_hooks_on_conditionings_and_the_persona_both_work(kind, model, applied, request):
    group, route = request.getfixturevalue(kind), partial(apply_to_model, placeholder="<ann>")
    prompts = {"persona": encode(applied, ANN_IN_SNOW), "negative": encode(applied, "lowres")}
    usual, recorder = sample(model, *prompts.values()), Recorder(model)
    one = hooks.ConditioningSetProperties().set_properties(prompts["persona"], 1.0, "default", hooks=group)[0]
    pair = hooks.PairConditioningSetProperties().set_properties(*prompts.values(), 1.0, "default", hooks=group)
    for conds in ((one, prompts["negative"]), pair):
        recorder.passes.clear()
        pictures = [sample(used, *conds) for used in (model, route(model))]
        rows = sorted(row for rows in names_of_rows(recorder.passes, **prompts) for row in rows)
        assert rows == ["negative"] * 10 + ["persona"] * 10
        assert torch.equal(*pictures) and not torch.allclose(pictures[0], usual, atol=1e-3)
    assert torch.equal(sample(model, *prompts.values()), usual)
    assert [len(own) for own in HOOK.transformers_dict["wrappers"][WrappersMP.CALC_COND_BATCH].values()] == [1]


def test_a_lora_hook_on_both_prompts_is_the_lora_on_the_model(model, applied, lora):
    conds = encode(applied, ANN_IN_SNOW), encode(applied, "lowres")
    group = hooks.CreateHookLora().create_hook(lora, 1.0, 0.0)[0]
    hooked = hooks.PairConditioningSetProperties().set_properties(*conds, 1.0, "default", hooks=group)
    styled = nodes.LoraLoader().load_lora(model, None, lora, 1.0, 0.0)[0]
    torch.testing.assert_close(sample(model, *hooked), sample(styled, *conds), atol=2e-3, rtol=2e-3)


def test_regions_with_hooks_of_their_own(model, applied, lora_hooks):
    prompts = {
        name: encode(applied, text)
        for name, text in {"persona": ANN_IN_SNOW, "plain": "a tree", "negative": ""}.items()
    }
    left = torch.zeros(1, 64, 64)
    left[..., :32] = 1
    combine = hooks.PairConditioningSetPropertiesAndCombine().set_properties
    first = hooks.PairConditioningSetProperties().set_properties(
        prompts["plain"], prompts["negative"], 1.0, "default", mask=1 - left
    )
    conds = combine(*first, prompts["persona"], prompts["negative"], 1.0, "default", mask=left, hooks=lora_hooks)
    recorder = Recorder(model)
    pictures = [sample(used, *conds) for used in (model, apply_to_model(model, "<ann>"))]
    rows = [row for rows in names_of_rows(recorder.passes, **prompts) for row in rows]
    assert torch.equal(*pictures)
    assert {name: rows.count(name) for name in prompts} == {"persona": 10, "plain": 10, "negative": 20}


@pytest.mark.parametrize("schedule", [False, True])
@pytest.mark.parametrize("order", ["hooks first", "Apply first"])
@pytest.mark.parametrize("routed", [True, False])
def test_hooks_on_clip_change_the_table_and_the_persona_is_painted_or_missed(
    routed, order, schedule, model, clip, applied, ann, lora_hooks, caplog
):
    """Where the MODEL is not routed through Apply, the host puts its hooks in the place of ours (or, scheduled, drops all
    that the encoder returns beside the context): then nobody follows, which is an error."""
    hook = partial(hooks.SetClipHooks().apply_hooks, apply_to_conds=True, schedule_clip=schedule, hooks=lora_hooks)
    taught = hook(applied)[0] if order == "Apply first" else apply_to_clip(hook(clip)[0], AppliedPersona(ann), "<ann>")
    usual, negative = applied.encode(ANN_IN_SNOW), encode(applied, "lowres")
    prompts = encode(taught, ANN_IN_SNOW)
    assert len(prompts) == (2 if schedule else 1)
    assert not same(prompts[0][0], usual, exact=False)
    if schedule:  # the LoRA's second keyframe has no strength
        assert same(prompts[1][0], usual, exact=False)
    recorder = Recorder(model)
    try:
        sample(apply_to_model(model, "<ann>") if routed else model, prompts, negative)
    except PersonaNotFollowed:
        assert not routed
        return
    named = {f"persona {number}": [prompt] for number, prompt in enumerate(prompts)}
    rows = [row for rows in names_of_rows(recorder.passes, **named, negative=negative) for row in rows]
    assert rows.count("negative") == 5
    assert "nobody" not in rows and set(rows) == {*named, "negative"} and not caplog.records
