"""Z-Image as artists have it: three files, learned with the base model, painted with Turbo. And what is refused there."""

import json
import re

import numpy as np
import pytest
from prompts import API, CHECKPOINT, find, only, pictures, with_few_contexts, with_z_image, workflow

from persona_core.persona import Persona

NAME, BASE, CLIP, VAE, TURBO = "learn_with_z_image", "1", "28", "29", "30"
LEARN, APPLY, KV, ATTENTION = "PersonaLearn", "PersonaApply", "PersonaKVTokens", "PersonaAttention"
LESSON = {"steps": 3, "batch_size": 1, "tokens": 2, "name": "flowing"}
SD = {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": CHECKPOINT}}

pytestmark = pytest.mark.usefixtures("z_image")


def template(**changes: dict) -> dict:
    """The template's workflow, with its own sampler."""
    sampler = json.loads((API / f"{NAME}.json").read_text())["14"]["inputs"]
    usual = {key: value for key, value in sampler.items() if not isinstance(value, list)}
    changes = {"KSampler": usual, **changes, LEARN: LESSON | changes.get(LEARN, {})}
    return with_few_contexts(only(workflow(NAME, changes), "SaveImage"))


def paint(server, prompt: dict, texts=None) -> np.ndarray:
    run = server.run(prompt, texts)
    assert run.status == "success", run.error
    [picture] = pictures(server, run, find(prompt, "SaveImage"))
    assert picture.shape == (64, 64, 3) and picture.std() > 5
    return picture.astype(int)


def test_the_template_learns_with_the_base_model_and_paints_with_turbo(server, texts):
    found = paint(server, template(), texts)
    assert any(text.startswith("Learned 'flowing'") for text in texts)
    persona = Persona.load(server.base / "models/personas/flowing.safetensors")
    assert len(persona.losses["noise"]) == 3 and np.isfinite([*persona.losses.values()]).all()
    texts.clear()
    word = paint(server, template(**{APPLY: {"strength": 0.0}}), texts)
    assert np.abs(found - word).max() > 0, "the persona is in the picture"
    by_base = template()
    by_base["31"]["inputs"]["model"] = [BASE, 0]
    assert np.abs(found - paint(server, by_base, texts)).max() > 0, "Turbo paints, not the base model"
    assert not any(text.startswith("Learning") for text in texts), "learned once"


def test_without_stages_they_are_where_there_is_as_much_noise(server):
    prompt = template(**{LEARN: {"name": "staged"}})
    del prompt[find(prompt, LEARN)]["inputs"]["stages"]
    run = server.run(only(prompt, LEARN))
    assert run.status == "success", run.error
    stages = Persona.load(server.base / "models/personas/staged.safetensors").representation.stages
    assert (stages.t_lo, stages.t_hi) == (538, 836)


def with_kv_tokens() -> dict:
    return with_z_image(only(workflow("face_wise_kv_tokens"), KV))


def with_persona_attention() -> dict:
    prompt = template()
    watching = workflow("face_wise_kv_tokens")["17"]
    watching["inputs"] |= {"model": ["10", 0], "clip": ["10", 1], "vae": [VAE, 0], "latent_image": ["13", 0]}
    return {**prompt, "17": watching}


def with_a_mask() -> dict:
    mask = {"class_type": "SolidMask", "inputs": {"value": 1.0, "width": 64, "height": 64}}
    prompt = {**template(), "mask": mask}
    prompt["10"]["inputs"]["mask"] = ["mask", 0]
    return prompt


def other(node: str, **links: list) -> dict:
    """The template with another MODEL, CLIP or VAE at a node: that of SD1.5."""
    prompt = {**template(), "sd": SD}
    prompt[find(prompt, node)]["inputs"] |= links
    return prompt


def resampled() -> dict:
    """As for SD3: its timesteps are a thousand times as high."""
    prompt = template()
    prompt["sd3"] = {"class_type": "ModelSamplingSD3", "inputs": {"model": [BASE, 0], "shift": 3.0}}
    prompt["4"]["inputs"]["model"] = ["sd3", 0]
    return prompt


ACROSS = "looks across at the text"
REFUSED = {
    "K/V tokens": (with_kv_tokens, KV, f"Face-Wise K/V Tokens needs.*{ACROSS}.*ZImage.*Use Learn Persona"),
    "attention loss": (
        lambda: template(**{LEARN: {"attention_weight": 0.003}}), LEARN, f"attention loss needs.*{ACROSS}.*attention_weight to 0",
    ),
    "key locking": (lambda: template(**{APPLY: {"key_locking": 0.5}}), APPLY, f"key_locking needs.*{ACROSS}.*Set it to 0"),
    "mask": (with_a_mask, APPLY, f"mask needs.*{ACROSS}.*Leave it away"),
    "Persona Attention": (with_persona_attention, ATTENTION, f"Persona Attention needs.*{ACROSS}.*Paint without it"),
    "MODEL of SD1.5, learning": (lambda: other(LEARN, model=["sd", 0]), LEARN, r"takes text 768 wide \(SD1.x, SD2.x, SDXL\), but this CLIP is custom"),
    "CLIP of SD1.5, learning": (lambda: other(LEARN, clip=["sd", 1]), LEARN, r"takes text 64 wide \(Z-Image\), but this CLIP is SD1.x"),
    "VAE of SD1.5, learning": (lambda: other(LEARN, vae=["sd", 2]), LEARN, "latents of 4 channels.*takes 16"),
    "MODEL of SD1.5, painting": (lambda: other(APPLY, model=["sd", 0]), APPLY, "custom.*this MODEL takes text 768 wide"),
    "CLIP of SD1.5, painting": (lambda: other(APPLY, clip=["sd", 1]), APPLY, "custom.*this CLIP is SD1.x"),
    "another sampling": (resampled, LEARN, "only ModelSamplingAuraFlow is for it"),
    "word of too many tokens": (lambda: template(**{LEARN: {"supercategory": "axolotl"}}), LEARN, "makes 4 tokens .* Set tokens to 4"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_there_is_refused_with_a_sentence(server, case):
    prompt, node, says = REFUSED[case]
    run = server.run(prompt())
    assert (run.status, run.error_type) == ("error", node), run
    assert re.search(says, run.error), run.error
    assert "Traceback" not in run.error and len(run.error) < 600
