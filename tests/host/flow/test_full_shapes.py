"""Z-Image in its full shapes: a step of learning and four of sampling on the CPU, and what memory they take."""

from dataclasses import replace

import pytest
import tiny_models
import torch
from recording import encode, sample

from persona_core.host.apply.encoding import apply_to_clip
from persona_core.host.apply.sampling import apply_to_model
from persona_core.host.clip import text_towers
from persona_core.host.learn.denoiser import cpu_has_bf16
from persona_core.host.learn.run import train_persona
from persona_core.host.model import default_stages
from persona_core.recipes import StageMapperRecipe
from persona_core.table import AppliedPersona
from tools import full_z_image

DTYPE = torch.bfloat16 if cpu_has_bf16() else torch.float32


@pytest.mark.slow
def test_it_learns_a_step_and_paints_four(job, tmp_path, caplog):
    model, clip = full_z_image.model(DTYPE), full_z_image.clip(DTYPE)
    assert sum(weight.numel() for weight in model.model.diffusion_model.parameters()) < 1e9
    assert text_towers(clip).family == "Z-Image (qwen3_4b, 2560 wide)"
    vae = tiny_models.vae(channels=16)
    learning = replace(job.recipe.learning, steps=1, batch_size=1)
    recipe = StageMapperRecipe(stages=default_stages(model), resolution=256, learning=learning)
    full = replace(
        job, model=model, clip=clip, vae=vae, recipe=recipe, photos=[photo.resized(256, 16) for photo in job.photos]
    )
    with caplog.at_level("INFO", logger="persona"):
        persona = train_persona(full, "f" * 32, tmp_path / "partial", lambda progress: None)
    assert any("layers computed twice" in record.getMessage() for record in caplog.records)
    assert persona.losses["noise"][0] > 0
    applied = apply_to_clip(clip, AppliedPersona(persona), "<ann>")
    positive, negative = encode(applied, "a photo of <ann> in snow"), encode(clip, "")
    painted = sample(apply_to_model(model, "<ann>"), positive, negative, steps=4, cfg=1.0, size=32, channels=16)
    plain = sample(model, encode(clip, "a photo of face in snow"), negative, steps=4, cfg=1.0, size=32, channels=16)
    assert painted.isfinite().all() and not torch.equal(painted, plain)
