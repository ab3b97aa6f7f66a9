"""A persona beside what else artists put on a MODEL, and beside a ControlNet."""

from functools import partial

import pytest
import tiny_models
import torch
from comfy_extras.nodes_easycache import EasyCacheNode
from comfy_extras.nodes_freelunch import FreeU, FreeU_V2
from comfy_extras.nodes_hypernetwork import HypernetworkLoader
from comfy_extras.nodes_hypertile import HyperTile
from comfy_extras.nodes_model_advanced import ModelSamplingDiscrete, RescaleCFG
from comfy_extras.nodes_model_merging import ModelMergeBlocks, ModelMergeSimple
from comfy_extras.nodes_pag import PerturbedAttentionGuidance
from comfy_extras.nodes_perpneg import PerpNeg
from comfy_extras.nodes_sag import SelfAttentionGuidance
from comfy_extras.nodes_tomesd import TomePatchModel
from neighbours import (
    PAIR,
    STEPS,
    control_net,
    cross_attentions,
    hypernetwork_file,
    image_prompt,
    in_tiles,
    in_windows,
    lora_file,
    names_of_rows,
    noise,
    serve,
)
from recording import Recorder, encode, sample

import nodes
from persona_core.host.apply import values as values_of_rows
from persona_core.host.apply.encoding import apply_to_clip
from persona_core.host.apply.sampling import apply_to_model
from persona_core.host.clip import text_towers
from persona_core.kv_tokens import KVTokens
from persona_core.persona import Persona
from persona_core.table import AppliedPersona


@pytest.fixture
def other():
    """A second checkpoint of the same layout."""
    made = tiny_models.model()
    tiny_models.fill(made.model.diffusion_model, 9)
    return made


@pytest.fixture
def lora(model, clip, tmp_path, monkeypatch):
    return serve(monkeypatch, "loras", lora_file(tmp_path / "style.safetensors", model, clip))


@pytest.fixture
def hypernetwork(tmp_path, monkeypatch):
    return serve(monkeypatch, "hypernetworks", hypernetwork_file(tmp_path / "hyper.pt", 64))


# What each makes of a MODEL, and what the rows of its passes in one step are.
NODES = {
    "LoRA": (lambda m, get: nodes.LoraLoader().load_lora(m, None, get("lora"), 1.0, 0.0)[0], [PAIR]),
    "FreeU": (lambda m, get: FreeU().patch(m, 1.1, 1.2, 0.9, 0.2)[0], [PAIR]),
    "FreeU_V2": (lambda m, get: FreeU_V2().patch(m, 1.3, 1.4, 0.9, 0.2)[0], [PAIR]),
    "PAG": (lambda m, get: PerturbedAttentionGuidance.execute(m, 3.0)[0], [PAIR, ["persona"]]),
    "SAG": (lambda m, get: SelfAttentionGuidance.execute(m, 0.5, 2.0)[0], [PAIR, ["negative"]]),
    "HyperTile": (lambda m, get: HyperTile.execute(m, 32, 2, 0, False)[0], [PAIR]),
    "ToMe": (lambda m, get: TomePatchModel.execute(m, 0.5)[0], [PAIR]),
    "ModelSamplingDiscrete": (lambda m, get: ModelSamplingDiscrete().patch(m, "v_prediction", False)[0], [PAIR]),
    "RescaleCFG": (lambda m, get: RescaleCFG().patch(m, 0.7)[0], [PAIR]),
    "PerpNeg": (lambda m, get: PerpNeg.execute(m, get("prompts")["empty"], 1.0)[0], [PAIR, ["empty"]]),
    "image prompt": (lambda m, get: image_prompt(m), [PAIR]),
}


@pytest.mark.parametrize("node", NODES)
def test_the_personas_rows_follow_its_table_beside(node, model, prompts, paint, request):
    change, passes = NODES[node]
    change, apply = partial(change, get=request.getfixturevalue), partial(apply_to_model, placeholder="<ann>")
    before, alone = paint(model, "plain"), paint(apply(model))
    plain = paint(change(model), "plain")
    recorder, pictures = Recorder(model), []
    for changed in (change(apply(model)), apply(change(model)), change(model)):
        recorder.passes.clear()
        pictures.append(paint(changed))
        assert names_of_rows(recorder.passes, **prompts) == passes * STEPS
    assert torch.equal(pictures[0], pictures[1]) and torch.equal(pictures[0], pictures[2])
    assert not torch.equal(pictures[0], alone) and not torch.equal(pictures[0], plain)
    assert torch.equal(paint(model, "plain"), before) and torch.equal(paint(apply(model)), alone)


@pytest.mark.parametrize("node", NODES)
def test_pairs_of_k_and_v_tokens_stand_in_every_step_beside(node, model, clip, prompts, request):
    """Unlike the stage mapper's tokens, which have their word in the first one."""
    change, passes = NODES[node]
    word = text_towers(clip).word("person")
    vectors = word.std() * torch.randn(5, 2, len(word), generator=torch.Generator().manual_seed(3))
    bob = Persona("bob", KVTokens(word, vectors), text_towers(clip).family, "person")
    persona = encode(apply_to_clip(clip, AppliedPersona(bob), "<bob>"), "a photo of <bob>")
    recorder = Recorder(model)
    changed = change(apply_to_model(model, "<bob>"), request.getfixturevalue)
    sample(changed, persona, prompts["negative"], steps=STEPS)
    assert names_of_rows(recorder.passes, **{**prompts, "persona": persona}) == passes * STEPS
    both = [one for one in recorder.passes if len(one["rows"]) == 2]
    assert len(both) == STEPS and all(not torch.equal(one["k"][0], one["v"][0]) for one in both)


def test_easycache_skips_steps_with_a_persona_too(model, prompts):
    """It knows conditionings again by their ids, from step to step."""
    recorder = Recorder(model)
    lazy = EasyCacheNode.execute(apply_to_model(model, "<ann>"), 3.0, 0.0, 1.0, False)[0]
    painted = sample(lazy, prompts["persona"], prompts["negative"], steps=20)
    assert 0 < sum(bool(one["k"]) for one in recorder.passes) < 20 and torch.isfinite(painted).all()
    assert not torch.equal(painted, sample(lazy, prompts["plain"], prompts["negative"], steps=20))


MERGES = {
    "ModelMergeSimple": lambda m, other: ModelMergeSimple().merge(m, other, 0.5)[0],
    "ModelMergeBlocks": lambda m, other: ModelMergeBlocks().merge(m, other, input=0.8, middle=0.5, out=0.2)[0],
}


@pytest.mark.parametrize("merge", MERGES)
def test_merged_models_paint_the_persona(merge, model, other, prompts, paint):
    alone, recorder = paint(model), Recorder(model)
    merged = paint(MERGES[merge](apply_to_model(model, "<ann>"), other))
    assert names_of_rows(recorder.passes, **prompts) == [PAIR] * STEPS
    assert not torch.equal(merged, alone) and torch.equal(paint(model), alone)


@pytest.mark.parametrize("order", ["hypernetwork first", "Apply first", "not routed"])
def test_a_hypernetwork_changes_k_and_v_of_the_persona(order, model, prompts, paint, hypernetwork):
    load = partial(HypernetworkLoader.execute, hypernetwork_name=hypernetwork, strength=1.0)
    patched = load(apply_to_model(model, "<ann>") if order == "Apply first" else model)[0]
    patched = apply_to_model(patched, "<ann>") if order == "hypernetwork first" else patched
    hyper = patched.model_options["transformer_options"]["patches"]["attn2_patch"]
    hyper = next(patch for patch in hyper if hasattr(patch, "hypernet"))
    recorder = Recorder(model)
    paint(patched)
    for one in recorder.passes:
        keys, values = prompts["persona"][0][0].table.at(one["t"])
        _, keys, values = hyper(None, keys, values, {})
        torch.testing.assert_close(one["k"][0][1], keys[0])
        torch.testing.assert_close(one["v"][0][1], values[0])


def test_an_image_prompt_sees_the_personas_k_and_v(model, prompts, paint):
    seen = []
    paint(image_prompt(apply_to_model(model, "<ann>"), seen))
    modules, sampling = dict(cross_attentions(model)), model.get_model_object("model_sampling")
    assert {place for _, place, *_ in seen} == set(modules) and len(seen) == STEPS * len(modules)
    for sigma, place, keys, values, rows in seen:
        contexts = prompts["persona"][0][0].table.at(float(sampling.timestep(sigma)))
        row = rows.index(0)
        torch.testing.assert_close(keys[row], modules[place].to_k(contexts[0])[0])
        torch.testing.assert_close(values[row], modules[place].to_v(contexts[1])[0])


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("at_once", [False, True])
def test_tiles_of_one_picture_all_get_the_persona(at_once, batch, model, prompts, paint):
    # Such packs repeat the whole batch for each tile.
    recorder = Recorder(model)
    paint(in_tiles(apply_to_model(model, "<ann>"), at_once), size=16, batch=batch)
    tile = ["negative"] * batch + ["persona"] * batch
    assert names_of_rows(recorder.passes, **prompts) == ([tile * 2] * STEPS if at_once else [tile] * 2 * STEPS)


@pytest.mark.parametrize("strength", [0.5, 1.0])
def test_a_controlnet_gets_the_personas_k_context(strength, model, prompts, paint):
    control, given = control_net(model), []
    control.control_model.register_forward_pre_hook(
        lambda module, args, kwargs: given.append((float(kwargs["timesteps"][0]), kwargs["context"])), with_kwargs=True
    )
    hint = noise(1, 64, 64, 3).sigmoid()
    controlled = nodes.ControlNetApplyAdvanced().apply_controlnet(
        prompts["persona"], prompts["negative"], control, hint, strength, 0.0, 1.0
    )
    free, recorder = paint(model), Recorder(model)
    painted = sample(model, *controlled, steps=STEPS)
    assert names_of_rows(recorder.passes, **prompts) == [PAIR] * STEPS and len(given) == STEPS
    for t, context in given:
        assert torch.equal(context[1:], prompts["persona"][0][0].table.at(t)[0])
        assert torch.equal(context[:1], prompts["negative"][0][0])
    assert not torch.allclose(painted, free, atol=1e-3) and torch.equal(paint(model), free)


@pytest.mark.parametrize("order", ["Apply first", "windows first"])
@pytest.mark.parametrize(("frames", "length"), [(6, 4), (8, 4), (3, 1)])
def test_windows_of_many_frames_all_get_the_persona(order, frames, length, model, prompts, paint):
    recorder = Recorder(model)
    both = partial(apply_to_model, placeholder="<ann>"), partial(in_windows, length=length)
    for step in both if order == "Apply first" else reversed(both):
        model = step(model)
    paint(model, batch=frames)
    windows = [min(length, frames - start) for start in range(0, frames, length)]
    expected = [["negative"] * size + ["persona"] * size for size in windows]
    assert names_of_rows(recorder.passes, **prompts) == expected * STEPS


def test_v_of_all_rows_is_written_once_a_pass(model, prompts, paint, monkeypatch):
    """Unless somebody else may change it."""
    written = []
    own = values_of_rows.repeat_to_batch_size
    monkeypatch.setattr(values_of_rows, "repeat_to_batch_size", lambda *args: (written.append(1), own(*args))[1])
    routed = apply_to_model(model, "<ann>")
    usual = paint(routed)
    once = len(written)
    assert 0 < once <= STEPS
    routed.set_model_attn2_patch(lambda query, keys, values, extra: (query, keys, values.add_(0.0)))
    assert torch.equal(paint(routed), usual) and len(written) > 5 * once
