"""A persona of a flow-matching transformer beside what else artists use: LoRA, what follows a picture, regions."""

from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import comfy.model_management
import model_patches
import pytest
import safetensors.torch
import tiny_models
import torch
from comfy_extras import nodes_hooks as hooks
from neighbours import lora_file, noise, serve
from recording import Recorder, at_the_layers, encode, sample

import nodes
from persona_core.host.adapter import has_adapter
from persona_core.host.apply.context import PersonaContext
from persona_core.host.apply.encoding import apply_to_clip
from persona_core.host.apply.sampling import apply_to_model
from persona_core.host.clip import UnsupportedModel, text_towers
from persona_core.host.learn.adapted_text import text_encoder
from persona_core.host.learn.autograd import differentiable
from persona_core.host.learn.frozen import frozen
from persona_core.host.learn.run import train_persona
from persona_core.host.model import attends_jointly, check_supported, default_stages
from persona_core.representation import TokenVectors
from persona_core.table import AppliedPersona

TEXT, PLAIN = "a photo of <ann> in snow", "a photo of face in snow"
route = partial(apply_to_model, placeholder="<ann>")


@pytest.fixture(scope="module", params=tiny_models.FLOWS)
def family(request):
    return request.param


@pytest.fixture
def model(family):
    return getattr(tiny_models, family)()


@pytest.fixture
def applied(clip, persona):
    """A CLIP that knows <ann>."""
    return apply_to_clip(clip, AppliedPersona(persona), "<ann>")


@pytest.fixture
def both(clip, applied):
    """One that knows <bob>, too."""
    bob = tiny_models.persona(clip, "bob", 200, 700, tokens=2, seed=1)
    return apply_to_clip(applied, AppliedPersona(bob), "<bob>")


@pytest.fixture
def flow_job(job, model, clip):
    learning = replace(job.recipe.learning, steps=2)
    recipe = replace(job.recipe, stages=default_stages(model), learning=learning)
    return replace(job, model=model, clip=clip, recipe=recipe)


@pytest.fixture
def lora(model, clip, tmp_path, monkeypatch):
    """A file with weights for every linear layer of both."""
    return serve(monkeypatch, "loras", lora_file(tmp_path / "style.safetensors", model, clip))


@pytest.fixture
def paint(clip):
    return lambda model, prompt, **more: sample(model, prompt, encode(clip, "lowres"), steps=4, **more)


@pytest.fixture
def control(family, tmp_path, monkeypatch):
    if family not in model_patches.HAVE:
        pytest.skip("this ComfyUI has none for it")
    return model_patches.controlled(family, tmp_path, monkeypatch)


@contextmanager
def recorded(model):
    """What the layers are given within."""
    recorder = Recorder(model)
    yield recorder.passes
    recorder.close()


def with_lora(model, clip, lora, on_model=1.0, on_clip=1.0):
    return nodes.LoraLoader().load_lora(model, clip, lora, on_model, on_clip)


def learned(job, folder):
    persona = train_persona(job, "f" * 32, folder / "unfinished", lambda _: None)
    (folder / "unfinished").unlink(missing_ok=True)
    return persona


def layers_get(model, prompt, t):
    """What the layers of a MODEL that is loaded are to get of a prompt at t: for K, for V."""
    context, extra = prompt[0]
    sides = context.table.at(min(t, 999)) if isinstance(context, PersonaContext) else (context, context)
    sides = sides[:1] * 2 if attends_jointly(model) else sides
    return [at_the_layers(model, side, extra)[0] for side in sides]


def is_given(model, one, row, prompt):
    """Whether a row of a Recorder's pass is of a prompt, in every layer of a MODEL."""
    comfy.model_management.load_models_gpu([model])
    expected = dict(zip("kv", layers_get(model, prompt, one["t"]), strict=True))
    near = partial(torch.allclose, atol=1e-5, rtol=1e-4)
    return all(
        given[row].shape == expected[side].shape and near(given[row], expected[side])
        for side in "kv"
        for given in one[side]
    )


def rows_of(passes, which):
    """(pass, row) of each that is of the positive list (0) or the negative one (1)."""
    return [(one, row) for one in passes for row, of in enumerate(one["rows"]) if of == which]


def test_contexts_and_prediction_of_learning_are_the_hosts_with_a_lora(model, clip, lora):
    """On text encoder, adapter and transformer."""
    noisy, sigma, found = noise(1, 4, 8, 12), torch.tensor([0.7]), []
    for used, with_clip in ((model, clip), with_lora(model, clip, lora)):
        with differentiable(used, with_clip.patcher), torch.no_grad():
            tower = text_towers(with_clip).first
            [token] = tower.ids("face")
            word = tower.embedding(token)[None, None]
            context = text_encoder(used, with_clip, 1, "face").encode(
                ["a photo of {} in snow"], TokenVectors(word, word)
            )
            output = frozen(used).predict(noisy, 1000 * sigma, context.keys, context.values)
        [theirs] = at_the_layers(used, *encode(with_clip, PLAIN)[0])
        torch.testing.assert_close(context.keys[0], theirs, atol=3e-5, rtol=1e-4)
        frames = noisy.unflatten(1, (4, 1)) if has_adapter(used.model.diffusion_model) else noisy
        sampling, given = used.model.model_sampling, {"num_tokens": len(theirs)} if attends_jointly(used) else {}
        denoised = used.model.apply_model(frames, sigma, c_crossattn=theirs[None], **given)
        ours = sampling.calculate_denoised(sigma, output, noisy)
        torch.testing.assert_close(ours, denoised.reshape(ours.shape), atol=3e-5, rtol=1e-4)
        found.append((context.keys, ours))
    assert all((one - other).abs().max() > 1e-2 for one, other in zip(*found))


def test_a_lora_is_another_fingerprint_and_leaves_no_trace(flow_job, model, clip, lora, paint, tmp_path):
    plain, base = encode(clip, PLAIN), flow_job.fingerprint()
    before, usual = paint(model, plain), learned(flow_job, tmp_path)
    prints = [base]
    for strengths in ((1.0, 0.0), (0.0, 1.0), (0.5, 0.0), (1.0, 1.0)):
        styled, styled_clip = with_lora(model, clip, lora, *strengths)
        job = replace(flow_job, model=styled, clip=styled_clip)
        prints.append(job.fingerprint())
    assert len(set(prints)) == 5
    assert learned(job, tmp_path).losses != usual.losses
    assert (flow_job.fingerprint(), job.fingerprint()) == (base, prints[-1])
    assert torch.equal(paint(model, encode(clip, PLAIN)), before)
    assert learned(flow_job, tmp_path).losses == usual.losses


def test_the_persona_is_painted_through_a_lora(model, clip, persona, applied, lora, paint):
    before, alone = paint(model, encode(clip, PLAIN)), paint(route(model), encode(applied, TEXT))
    pictures = []
    for order in ("Apply first", "LoRA first", "not routed"):
        styled, styled_clip = with_lora(route(model) if order == "Apply first" else model, clip, lora)
        styled = route(styled) if order == "LoRA first" else styled
        prompt = encode(apply_to_clip(styled_clip, AppliedPersona(persona), "<ann>"), TEXT)
        with recorded(model) as passes:
            pictures.append(paint(styled, prompt))
        assert len(rows_of(passes, 0)) == 4 and all(is_given(styled, *one, prompt) for one in rows_of(passes, 0))
    plain = paint(styled, encode(styled_clip, PLAIN))
    assert torch.equal(pictures[0], pictures[1]) and torch.equal(pictures[0], pictures[2])
    assert all((pictures[0] - other).abs().max() > 1e-4 for other in (plain, alone))
    assert torch.equal(paint(model, encode(clip, PLAIN)), before)
    assert torch.equal(paint(route(model), encode(applied, TEXT)), alone)


def test_the_layers_get_what_the_adapter_finds_with_a_lora_on_it(model, applied, lora, paint, tmp_path, monkeypatch):
    if not has_adapter(model.model.diffusion_model):
        pytest.skip("it has no adapter")
    weights = safetensors.torch.load_file(tmp_path / lora)
    weights = {key: weight for key, weight in weights.items() if "llm_adapter" in key}
    safetensors.torch.save_file(weights, tmp_path / "adapter.safetensors")
    styled, _ = with_lora(model, None, serve(monkeypatch, "loras", tmp_path / "adapter.safetensors"))
    prompt = encode(applied, TEXT)
    with recorded(model) as passes:
        paint(route(styled), prompt)
    assert len(rows_of(passes, 0)) == 4 and all(is_given(styled, *one, prompt) for one in rows_of(passes, 0))
    assert not any(is_given(model, *one, prompt) for one in rows_of(passes, 0))


@pytest.mark.parametrize("hooked", ["both prompts", "one"])
def test_a_lora_hook_changes_the_layers_and_not_what_they_are_given(hooked, model, clip, persona, applied, lora):
    """The host's adapter reads a prompt before hooks are on; so does ours, though one may be left from the step before."""
    group, negative = hooks.CreateHookLora().create_hook(lora, 1.0, 0.0)[0], encode(clip, "lowres")

    def painted(positive, used=model):
        if hooked == "one":
            positive = hooks.ConditioningSetProperties().set_properties(positive, 1.0, "default", hooks=group)[0]
            return sample(used, positive, negative, steps=4)
        pair = hooks.PairConditioningSetProperties().set_properties(positive, negative, 1.0, "default", hooks=group)
        return sample(used, *pair, steps=4)

    prompt, nobody = encode(applied, TEXT), apply_to_clip(clip, AppliedPersona(persona, strength=0.0), "<ann>")
    with recorded(model) as passes:
        pictures = [painted(prompt), painted(prompt, used=route(model))]
    assert len(rows_of(passes, 0)) == 8 and all(is_given(model, *one, prompt) for one in rows_of(passes, 0))
    plain = painted(encode(clip, PLAIN))
    assert torch.equal(*pictures) and (pictures[0] - plain).abs().max() > 1e-4
    assert torch.equal(painted(encode(nobody, TEXT)), plain)


def test_a_picture_is_followed_with_and_without_the_persona(model, clip, applied, persona, control, paint):
    prompt, plain = encode(applied, TEXT), encode(clip, PLAIN)
    nobody = encode(apply_to_clip(clip, AppliedPersona(persona, strength=0.0), "<ann>"), TEXT)
    free, expected = paint(route(model), prompt), paint(control(model), plain)
    with recorded(model) as passes:
        pictures = [paint(used, prompt) for used in (control(route(model)), route(control(model)), control(model))]
    assert all(is_given(model, *one, prompt) for one in rows_of(passes, 0))
    assert torch.equal(pictures[0], pictures[1]) and torch.equal(pictures[0], pictures[2])
    others = free, expected, paint(control(route(model), seed=4), prompt)
    assert all((pictures[0] - other).abs().max() > 1e-4 for other in others)
    assert torch.equal(paint(route(control(model)), nobody), expected)
    assert torch.equal(paint(control(route(model), 0.0), prompt), free)
    assert torch.equal(paint(route(model), prompt), free)


def test_learning_with_a_model_that_follows_a_picture_is_refused(model, control):
    check_supported(model)
    with pytest.raises(UnsupportedModel, match=r"carries a ControlNet .* Take the MODEL from before that node"):
        check_supported(control(model))


@pytest.mark.parametrize("where", ["area", "mask"])
def test_each_region_gets_its_own_persona_and_the_negative_none(model, both, where):
    *people, negative = (encode(both, text) for text in (TEXT, TEXT.replace("ann", "bob"), "lowres"))
    masks, regions, widths = torch.zeros(2, 1, 128, 128), [], (48, 80)
    masks[0, ..., :48] = masks[1, ..., 48:] = 1
    for prompt, width, x, mask in zip(people, widths, (0, 48), masks):
        if where == "area":
            regions += nodes.ConditioningSetArea().append(prompt, width, 128, x, 0, 1.0)
        else:
            regions += nodes.ConditioningSetMask().append(prompt, mask, "default", 1.0)
    [positive], seen = nodes.ConditioningCombine().combine(*regions), []
    with recorded(model) as passes:
        painted = sample(apply_to_model(route(model), "<bob>"), positive, negative, steps=4, size=16)
    for one, row in rows_of(passes, 0):
        whose = tuple(number for number, prompt in enumerate(people) if is_given(model, one, row, prompt))
        assert where == "mask" or widths.index(8 * one["size"][1]) in whose
        seen.append(whose)
    assert painted.isfinite().all() and len(seen) == 8 and seen.count((0,)) == seen.count((1,)) >= 2
    assert seen.count((0, 1)) == 8 - 2 * seen.count((0,))  # the first steps have the word, in both
    others = rows_of(passes, 1)
    assert others and all(is_given(model, *one, negative) for one in others)


def test_a_range_of_the_sampling_has_its_own_persona(model, both):
    prompts = [encode(both, text) for text in (TEXT, "<bob> in a garden")]
    spans = zip(prompts, ((0.0, 0.5), (0.5, 1.0)), strict=True)
    parts = [nodes.ConditioningSetTimestepRange().set_range(prompt, *span)[0] for prompt, span in spans]
    half, seen = 1000 * model.get_model_object("model_sampling").percent_to_sigma(0.5), []
    with recorded(model) as passes:
        sample(route(model), nodes.ConditioningCombine().combine(*parts)[0], encode(both, "lowres"), steps=9)
    for one, row in rows_of(passes, 0):
        seen.append(0 if one["t"] > half else 1)
        assert is_given(model, one, row, prompts[seen[-1]])
    assert set(seen) == {0, 1}
