"""A persona beside what else artists put on a MODEL or around a sampler, in the host's own nodes."""

from functools import partial

import pytest
import tiny_models
import torch
from comfy_api.torch_helpers import set_torch_compile_wrapper
from comfy_extras import nodes_custom_sampler as custom
from comfy_extras.nodes_differential_diffusion import DifferentialDiffusion
from comfy_extras.nodes_easycache import EasyCacheNode
from comfy_extras.nodes_freelunch import FreeU, FreeU_V2
from comfy_extras.nodes_hypernetwork import HypernetworkLoader
from comfy_extras.nodes_hypertile import HyperTile
from comfy_extras.nodes_model_advanced import ModelSamplingDiscrete, RescaleCFG
from comfy_extras.nodes_model_merging import ModelMergeBlocks, ModelMergeSimple
from comfy_extras.nodes_pag import PerturbedAttentionGuidance
from comfy_extras.nodes_perpneg import PerpNeg, PerpNegGuider
from comfy_extras.nodes_photomaker import PhotoMakerEncode
from comfy_extras.nodes_sag import SelfAttentionGuidance
from comfy_extras.nodes_tomesd import TomePatchModel
from comfy_extras.nodes_torch_compile import TorchCompileModel
from neighbours import (
    control_net,
    cross_attentions,
    hypernetwork_file,
    image_prompt,
    in_tiles,
    in_windows,
    lora_file,
    names_of_rows,
    noise,
    photo_maker,
    serve,
)
from recording import Recorder, encode, sample

import nodes
from persona_core.host.apply import sampling
from persona_core.host.apply.context import PersonaContext
from persona_core.host.apply.encoding import apply_to_clip
from persona_core.host.apply.sampling import apply_to_model
from persona_core.host.clip import text_towers
from persona_core.kv_tokens import KVTokens
from persona_core.persona import Persona
from persona_core.table import AppliedPersona

PAIR = ["negative", "persona"]
STEPS = 3  # one above, one in and one below the persona's stage


@pytest.fixture(scope="module")
def clip():
    """One for all: nothing here may leave a trace in it."""
    with torch.inference_mode():
        return tiny_models.clip()


@pytest.fixture(scope="module")
def everyone(clip):
    """By name what is painted here, "bob" by a CLIP that knows him too; no node and no sampling changes it."""
    texts = {
        "persona": "a photo of <ann> in snow",
        "plain": "a photo of face in snow",
        "negative": "lowres",
        "empty": "",
    }
    with torch.inference_mode():
        applied = apply_to_clip(clip, AppliedPersona(tiny_models.persona(clip)), "<ann>")
        bob = AppliedPersona(tiny_models.persona(clip, "bob", 300, 600, seed=1))
        both = encode(apply_to_clip(applied, bob, "<bob>"), "<bob> in snow")
        return {**{name: encode(applied, text) for name, text in texts.items()}, "bob": both}


@pytest.fixture
def prompts(everyone):
    return {name: prompt for name, prompt in everyone.items() if name != "bob"}


@pytest.fixture
def paint(prompts):
    """Sample with the persona, or with the plain word. Some nodes draw random numbers of their own."""

    def run(model, positive="persona", **more):
        torch.manual_seed(0)
        return sample(model, prompts[positive], prompts["negative"], steps=STEPS, **more)

    return run


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


def guide_perp_neg(model, conds):
    return PerpNegGuider.execute(model, conds["persona"], conds["negative"], conds["empty"], 5.0, 1.0)


def guide_dual(model, conds, style):
    return custom.DualCFGGuider.execute(model, conds["persona"], conds["bob"], conds["negative"], 3.0, 5.0, style)


GUIDERS = {
    "BasicGuider": (lambda m, conds: custom.BasicGuider.execute(m, conds["persona"]), ["persona"]),
    "CFGGuider": (lambda m, conds: custom.CFGGuider.execute(m, conds["persona"], conds["negative"], 5.0), PAIR),
    "PerpNegGuider": (guide_perp_neg, ["empty", "negative", "persona"]),
    "DualCFGGuider": (partial(guide_dual, style="regular"), ["persona", "bob", "negative"]),
    "DualCFGGuider nested": (partial(guide_dual, style="nested"), ["persona", "bob", "negative"]),
}


@pytest.mark.parametrize("guider", GUIDERS)
@pytest.mark.parametrize("routed", [True, False])
def test_every_guider_paints_each_persona_in_its_own_rows(guider, routed, model, everyone):
    make, rows = GUIDERS[guider]
    recorder, used = Recorder(model), apply_to_model(model, "<ann>") if routed else model
    latent = {"samples": torch.zeros(1, 4, 8, 8)}
    sigmas = custom.BasicScheduler.execute(used, "normal", STEPS, 1.0)[0]
    euler = custom.KSamplerSelect.execute("euler")[0]
    painted = custom.SamplerCustomAdvanced.execute(
        custom.RandomNoise.execute(0)[0], make(used, everyone)[0], euler, sigmas, latent
    )[0]
    assert names_of_rows(recorder.passes, **everyone) == [rows] * STEPS
    assert torch.isfinite(painted["samples"]).all()


def test_a_second_sampler_continues_where_the_first_stopped(model, prompts):
    conds = prompts["persona"], prompts["negative"]
    run = partial(nodes.KSamplerAdvanced().sample, model)
    recorder, empty = Recorder(model), {"samples": torch.zeros(1, 4, 8, 8)}
    whole = run("enable", 0, 10, 5.0, "euler", "normal", *conds, empty, 0, 10, "disable")[0]
    seen, recorder.passes = recorder.passes, []
    first = run("enable", 0, 10, 5.0, "euler", "normal", *conds, empty, 0, 4, "enable")[0]
    second = run("disable", 0, 10, 5.0, "euler", "normal", *conds, first, 4, 10, "disable")[0]
    assert names_of_rows(recorder.passes, **prompts) == names_of_rows(seen, **prompts) == [PAIR] * 10
    assert [one["t"] for one in recorder.passes] == [one["t"] for one in seen]
    torch.testing.assert_close(second["samples"], whole["samples"], atol=1e-3, rtol=1e-3)


WAYS = {"image to image": (0.3, 5.0, 1), "four at once": (1.0, 5.0, 4), "CFG 1": (1.0, 1.0, 1)}


@pytest.mark.parametrize("way", WAYS)
def test_ways_to_use_the_sampler_node(way, model, prompts):
    denoise, cfg, batch = WAYS[way]
    latent, recorder = {"samples": noise(batch, 4, 8, 8)}, Recorder(model)
    run = partial(nodes.KSampler().sample, model, 0, STEPS, cfg, "euler", "normal")
    painted, plain = (
        run(prompts[kind], prompts["negative"], latent, denoise=denoise)[0]["samples"] for kind in ("persona", "plain")
    )
    rows = ["persona"] if cfg == 1 else ["negative"] * batch + ["persona"] * batch
    assert names_of_rows(recorder.passes[:STEPS], **prompts) == [rows] * STEPS
    assert (denoise < 1) == all(one["t"] < 400 for one in recorder.passes)
    assert all(not torch.equal(*pair) for pair in zip(painted, plain, strict=True))


@pytest.mark.parametrize("differential", [False, True])
def test_inpainting_changes_what_is_under_the_mask(differential, model, prompts):
    latent = {"samples": noise(1, 4, 8, 8), "noise_mask": torch.linspace(0, 1, 64).expand(1, 64, 64).round()}
    if differential:
        latent["noise_mask"] = torch.linspace(-0.5, 1, 64).clamp(0).expand(1, 64, 64)
    used = DifferentialDiffusion.execute(model)[0] if differential else model
    recorder = Recorder(model)
    run = partial(nodes.KSampler().sample, used, 0, STEPS, 5.0, "euler", "normal")
    painted, plain = (run(prompts[kind], prompts["negative"], latent)[0]["samples"] for kind in ("persona", "plain"))
    assert names_of_rows(recorder.passes[:STEPS], **prompts) == [PAIR] * STEPS
    if not differential:  # which lets go of the mask towards the end
        torch.testing.assert_close(painted[..., :2], latent["samples"][..., :2], atol=1e-4, rtol=1e-4)
    assert not torch.allclose(painted[..., 4:], plain[..., 4:])


@pytest.fixture(scope="module")
def sdxl_clips():
    """One that knows nobody, and one that knows <ann>."""
    with torch.inference_mode():
        clip = tiny_models.clip("sdxl")
        return clip, apply_to_clip(clip, AppliedPersona(tiny_models.persona(clip)), "<ann>")


@pytest.fixture
def sdxl(sdxl_clips):
    return tiny_models.model(sdxl=True), *sdxl_clips


def maker_of(monkeypatch, clip, text):
    return PhotoMakerEncode.execute(photo_maker(monkeypatch, (64, 128)), noise(1, 64, 64, 3).sigmoid(), clip, text)[0]


def test_photomaker_paints_one_region_and_the_persona_another(sdxl, monkeypatch):
    model, clip, taught = sdxl
    maker, ann, negative = (
        maker_of(monkeypatch, clip, "photomaker in snow"),
        encode(taught, "a <ann>"),
        encode(clip, ""),
    )
    assert not torch.equal(maker[0][0], encode(clip, "photomaker in snow")[0][0])
    left = torch.zeros(1, 128, 128)
    left[..., :64] = 1
    regions = [
        nodes.ConditioningSetMask().append(prompt, mask, "default", 1.0)[0]
        for prompt, mask in ((ann, left), (maker, 1 - left))
    ]
    recorder = Recorder(model)
    painted = sample(model, nodes.ConditioningCombine().combine(*regions)[0], negative, size=16, batch=2)
    assert torch.isfinite(painted).all()
    for rows in names_of_rows(recorder.passes, ann=ann, maker=maker, negative=negative):
        assert sorted(rows) == ["ann"] * 2 + ["maker"] * 2 + ["negative"] * 2


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
    own = sampling.repeat_to_batch_size
    monkeypatch.setattr(sampling, "repeat_to_batch_size", lambda *args: (written.append(1), own(*args))[1])
    routed = apply_to_model(model, "<ann>")
    usual = paint(routed)
    once = len(written)
    assert 0 < once <= STEPS
    routed.set_model_attn2_patch(lambda query, keys, values, extra: (query, keys, values.add_(0.0)))
    assert torch.equal(paint(routed), usual) and len(written) > 5 * once


def test_photomaker_encodes_with_a_clip_that_knows_a_persona(sdxl, monkeypatch):
    # It asks the tokenizer for the words' numbers too.
    _, clip, taught = sdxl
    ours, plain = (maker_of(monkeypatch, one, "photomaker in snow") for one in (taught, clip))
    assert torch.equal(ours[0][0], plain[0][0])


def test_a_persona_in_photomakers_own_prompt(sdxl, monkeypatch, caplog):
    """PhotoMaker fuses its picture into one token; the persona stands at the others, at every t."""
    model, clip, taught = sdxl
    (context, _), usual = maker_of(monkeypatch, taught, "photomaker with <ann>")[0], encode(taught, "with <ann>")[0]
    assert isinstance(context, PersonaContext) and context.table.placeholders == {"<ann>"}
    for side in (0, 1):
        of_ann = (context.table.at(600)[side] - context.table.base)[0].norm(dim=-1)
        largest = (usual[0].table.at(600)[side] - usual[0].table.base).norm(dim=-1).max()
        assert of_ann[0] == 0 and of_ann.max() > 0.5 * largest
    sample(apply_to_model(model, "<ann>"), [[context, {**encode(clip, "")[0][1]}]], encode(clip, ""), steps=STEPS)
    assert not caplog.records


BLOCK = "diffusion_model.middle_block.1.transformer_blocks.0"


@pytest.mark.parametrize("whole", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_compiled_model_paints_the_same_and_is_compiled_once(whole, model, paint):
    routed, graphs = apply_to_model(model, "<ann>"), []

    def backend(graph, inputs):
        graphs.append(graph)
        return graph.forward  # traced, but no machine code: the node's own backends take minutes

    compiled = TorchCompileModel.execute(routed, backend)[0]
    if not whole:
        set_torch_compile_wrapper(compiled, backend, keys=[BLOCK])
    torch.testing.assert_close(paint(compiled), paint(routed), atol=1e-3, rtol=1e-3)
    traced = len(graphs)
    assert traced
    paint(compiled)
    assert len(graphs) == traced
