"""A persona with each guider, and in each way to run the sampler."""

from functools import partial

import pytest
import torch
from comfy_extras import nodes_custom_sampler as custom
from comfy_extras.nodes_differential_diffusion import DifferentialDiffusion
from comfy_extras.nodes_perpneg import PerpNegGuider
from neighbours import PAIR, STEPS, names_of_rows, noise
from recording import Recorder

import nodes
from persona_core.host.apply.sampling import apply_to_model


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
