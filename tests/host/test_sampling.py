"""K and V in the host's own sampler: the persona's rows and no others."""

import comfy.sample
import comfy.samplers
import pytest
import tiny_models
import torch
from comfy_extras.nodes_model_advanced import ModelSamplingContinuousEDM, ModelSamplingDiscrete
from recording import Recorder, encode, sample

from persona_core.host.apply.encoding import apply_to_clip
from persona_core.host.apply.sampling import TABLE, VALUES, apply_to_model
from persona_core.table import PERSONA, AppliedPersona

STAGES = {"early", "dynamic", "late"}


@pytest.fixture(scope="module")
def clip():
    """One for all: nothing here may leave a trace in it."""
    with torch.inference_mode():
        return tiny_models.clip()


@pytest.fixture(scope="module")
def prompts(clip):
    """With the persona, as plain supercategory, and a negative one; no sampling changes them."""
    with torch.inference_mode():
        applied = apply_to_clip(clip, AppliedPersona(tiny_models.persona(clip)), "<ann>")
        texts = {"a photo of <ann> in snow": applied, "a photo of face in snow": clip, "lowres": clip}
        return tuple(encode(knowing, text) for text, knowing in texts.items())


def check(passes, prompts, batch=1) -> set[str]:
    """All layers got K and V of the persona at each pass's t in its rows, and the negative context in the others; the
    persona's stages that were seen."""
    (persona, plain, negative), seen = prompts, set()
    for one in passes:
        keys, values = persona[0][1][TABLE].at(one["t"])
        stage = "early" if one["t"] > 800.5 else "late" if one["t"] < 399.5 else "dynamic"
        for side, expected in (("k", keys), ("v", values)):
            assert len(one[side]) == len(one["k"]) > 8
            for context in one[side]:
                assert len(context) == batch * len(one["rows"])
                for index, cond in enumerate(one["rows"]):
                    rows = context[index * batch : (index + 1) * batch]
                    assert torch.equal(rows, (negative[0][0] if cond == 1 else expected).expand(batch, -1, -1))
        assert torch.equal(keys, plain[0][0]) == (stage == "early")
        assert torch.equal(keys, values) == (stage == "early")
        seen |= {stage} if 0 in one["rows"] else set()
    return seen


@pytest.mark.parametrize("batch", [1, 3])
def test_the_personas_rows_get_the_tables_k_and_v_and_no_others(model, prompts, batch):
    recorder = Recorder(model)
    sample(model, prompts[0], prompts[2], batch=batch, steps=12)
    assert check(recorder.passes, prompts, batch) == STAGES


def test_positive_and_negative_share_one_pass_as_without_the_pack(model, prompts):
    recorder = Recorder(model)
    sample(model, prompts[0], prompts[2])
    with_persona = [one["rows"] for one in recorder.passes]
    recorder.passes.clear()
    sample(model, prompts[1], prompts[2])
    assert with_persona == [one["rows"] for one in recorder.passes] == [[1, 0]] * 5


def test_what_the_unet_says_to_negative_rows_is_bit_identical(model, prompts):
    """In the first step, where both runs see the same latents. dpmpp_2m at 600 steps in: the dynamic stage."""
    persona, plain, negative = prompts
    outputs = []
    model.model.diffusion_model.register_forward_hook(
        lambda module, args, kwargs, output: outputs.append(
            (kwargs["transformer_options"]["cond_or_uncond"], output.clone())
        ),
        with_kwargs=True,
    )
    for positive in (persona, plain):
        sample(model, positive, negative, steps=10, start_step=4, last_step=5, batch=2)
    (rows, ours), (same_rows, theirs) = outputs
    assert rows == same_rows == [1, 0]
    assert torch.equal(ours[:2], theirs[:2]) and not torch.equal(ours[2:], theirs[2:])


def test_a_sampling_that_counts_otherwise_finds_the_timestep_by_its_noise(model, prompts):
    """ModelSamplingContinuousEDM calls a timestep what is 0.25 log sigma."""
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    alphas = torch.cumprod(1 - betas, 0)
    usual = ((1 - alphas) / alphas).sqrt()  # 1.16 at t 400, 5.11 at 800
    patched = ModelSamplingContinuousEDM().patch(model, "eps", 14.6, 0.03)[0]
    persona, _, negative = prompts
    table, given = persona[0][1][TABLE], []
    patched.set_model_unet_function_wrapper(
        lambda apply, x: (given.append(x), apply(x["input"], x["timestep"], **x["c"]))[1]
    )
    sample(patched, persona, negative, steps=12, scheduler="karras")
    seen = set()
    for x in given:
        t = int((usual.log() - float(x["timestep"][0].log())).abs().argmin())
        seen.add("early" if t > 800 else "late" if t < 400 else "dynamic")
        assert torch.equal(x["c"]["c_crossattn"][x["cond_or_uncond"].index(0)], table.at(t)[0][0])
    assert seen == STAGES


@pytest.mark.parametrize(("sampling", "zsnr"), [("lcm", False), ("v_prediction", True)])
def test_discrete_samplings_of_other_kinds(model, prompts, sampling, zsnr):
    patched = ModelSamplingDiscrete().patch(model, sampling, zsnr)[0]
    persona, plain, negative = prompts
    recorder = Recorder(model)
    painted = sample(patched, persona, negative, steps=10)
    check(recorder.passes, prompts)
    assert not torch.equal(painted, sample(patched, plain, negative, steps=10))


def test_model_and_conditioning_carry_the_same_thing_once(model, prompts):
    persona, plain, negative = prompts
    through_model = sample(apply_to_model(apply_to_model(model, "<ann>"), "<ann>"), persona, negative)
    assert torch.equal(through_model, sample(model, persona, negative))
    stripped = [[context, {"pooled_output": extra["pooled_output"]}] for context, extra in persona]
    assert torch.equal(through_model, sample(apply_to_model(model, "<ann>"), stripped, negative))
    assert not torch.equal(through_model, sample(model, plain, negative))


def test_a_plain_run_is_bit_identical_before_and_after_and_through_apply(model, prompts):
    persona, plain, negative = prompts
    before = sample(model, plain, negative)
    sample(model, persona, negative)
    assert torch.equal(before, sample(model, plain, negative))
    assert torch.equal(before, sample(apply_to_model(model, "<ann>"), plain, negative))
    assert VALUES not in model.model_options.get("transformer_options", {})


def test_a_second_plain_prompt_in_the_same_picture_keeps_its_rows(model, clip, prompts):
    persona, _, negative = prompts
    left, right = torch.zeros(2, 64, 64)
    left[:, :32] = right[:, 32:] = 1
    masked = [
        *([c, {**d, "mask": left[None], "mask_strength": 1.0}] for c, d in persona),
        *([c, {**d, "mask": right[None], "mask_strength": 1.0}] for c, d in encode(clip, "a green bicycle")),
    ]
    recorder = Recorder(model)
    sample(model, masked, negative)
    bicycle = encode(clip, "a green bicycle")[0][0]
    for one in recorder.passes:
        expected = [negative[0][0], bicycle, persona[0][1][TABLE].at(one["t"])[0]]
        for row in one["k"][0]:
            assert any(torch.equal(row, candidate[0]) for candidate in expected)
        assert sum(torch.equal(row, bicycle[0]) for row in one["k"][0]) == 1
        assert torch.equal(one["v"][0][one["rows"].index(1)], negative[0][0][0])


def test_strength_zero_is_the_plain_prompt_bit_for_bit(model, clip, ann, prompts):
    _, plain, negative = prompts
    none = encode(apply_to_clip(clip, AppliedPersona(ann, 0.0), "<ann>"), "a photo of <ann> in snow")
    assert torch.equal(sample(apply_to_model(model, "<ann>"), none, negative), sample(model, plain, negative))


@pytest.mark.parametrize("sampler", comfy.samplers.KSampler.SAMPLERS)
def test_every_sampler(model, prompts, sampler):
    """In as few steps as reach every stage; the schedulers have a test of their own."""
    persona, plain, negative = prompts
    recorder, run = Recorder(model), {"sampler": sampler, "steps": 3}
    painted = sample(model, persona, negative, **run)
    assert check(recorder.passes, prompts) == STAGES
    assert torch.isfinite(painted).all() and not torch.equal(painted, sample(model, plain, negative, **run))


@pytest.mark.parametrize("steps", [1, 2, 4, 8, 50])
def test_every_number_of_steps(model, prompts, steps):
    persona, plain, negative = prompts
    recorder = Recorder(model)
    painted = sample(model, persona, negative, steps=steps)
    assert len(recorder.passes) == steps
    check(recorder.passes, prompts)
    # A single step lies above the stage: there the word stands, unless asked otherwise.
    assert torch.equal(painted, sample(model, plain, negative, steps=steps)) == (steps == 1)


def test_a_single_step_shows_the_persona_where_it_is_asked_for_early(model, clip, ann, prompts):
    """Turbo models with one step, and LCM with a few, at CFG 1."""
    early = encode(apply_to_clip(clip, AppliedPersona(ann, early=PERSONA), "<ann>"), "a photo of <ann> in snow")
    lcm = ModelSamplingDiscrete().patch(model, "lcm", False)[0]
    for patched, run in ((model, {"steps": 1, "cfg": 1.0}), (lcm, {"steps": 4, "cfg": 1.0, "sampler": "lcm"})):
        painted = sample(patched, early, prompts[2], **run)
        assert torch.isfinite(painted).all() and not torch.equal(painted, sample(patched, *prompts[1:], **run))


@pytest.mark.parametrize("scheduler", comfy.samplers.KSampler.SCHEDULERS)
def test_every_scheduler(model, prompts, scheduler):
    persona, plain, negative = prompts
    recorder, run = Recorder(model), {"scheduler": scheduler, "steps": 10}
    painted = sample(model, persona, negative, **run)
    never = {"late"} if scheduler == "linear_quadratic" else set()  # its last step is a large one
    assert check(recorder.passes, prompts) == STAGES - never
    assert not torch.equal(painted, sample(model, plain, negative, **run))


@pytest.mark.parametrize(
    "run",
    [
        {"cfg": 1.0},
        {"cfg": 30.0},
        {"steps": 2, "denoise": 0.6},
        {"denoise": 0.3},
        {"batch": 4},
        {"size": 16},
        {"steps": 20, "start_step": 15, "last_step": 20},
        {"steps": 10, "start_step": 4, "last_step": 7, "force_full_denoise": True},
    ],
    ids=str,
)
def test_every_way_to_sample(model, prompts, run):
    persona, plain, negative = prompts
    recorder = Recorder(model)
    painted = sample(model, persona, negative, **run)
    stages = check(recorder.passes, prompts, run.get("batch", 1))
    if run == {"denoise": 0.3}:
        assert stages == {"late"}  # begins below the dynamic stage
    assert torch.isfinite(painted).all() and not torch.equal(painted, sample(model, plain, negative, **run))


@pytest.mark.parametrize("size", [(8, 8), (16, 8), (24, 24)])
def test_every_resolution(model, prompts, size):
    noise = torch.randn(1, 4, *size, generator=torch.Generator().manual_seed(0))
    results = [
        comfy.sample.sample(model, noise, 2, 4.0, "euler", "normal", p, prompts[2], torch.zeros_like(noise), seed=0)
        for p in prompts[:2]
    ]
    assert results[0].shape == noise.shape and not torch.equal(*results)


def test_prompts_of_different_lengths_in_one_batch(model, applied, clip):
    long = encode(applied, "<ann>, " + ", ".join(f"a tree number {n}" for n in range(30)))
    recorder = Recorder(model)
    assert torch.isfinite(sample(model, long, encode(clip, "lowres"))).all()
    for one in recorder.passes:
        keys, values = long[0][1][TABLE].at(one["t"])
        row = one["rows"].index(0)
        assert torch.equal(one["k"][0][row], keys[0]) and torch.equal(one["v"][0][row], values[0])
