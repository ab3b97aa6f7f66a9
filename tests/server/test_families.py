"""Every family that personas are for, learned and painted with over the HTTP API of a real server."""

import io
from dataclasses import dataclass
from itertools import permutations

import numpy as np
import pytest
import torch
from PIL import Image
from prompts import find, only, pictures, with_few_contexts, with_z_image, workflow

from persona_core.kv_tokens import KVTokens
from persona_core.persona import Persona
from tools import random_checkpoint

LEARN, KV, PARTITION, APPLY = "PersonaLearn", "PersonaKVTokens", "PersonaStagePartition", "PersonaApply"


@dataclass(frozen=True)
class Family:
    """A random checkpoint's architecture, and what its text encoder is called in a persona."""

    architecture: str
    called: str
    widths: tuple[int, ...]

    @property
    def checkpoint(self) -> str:
        return f"random_{self.architecture}.ckpt"

    def load(self, prompt: dict) -> dict:
        """The prompt with this family's model."""
        if self.architecture == "z_image":
            return with_z_image(prompt)
        prompt[find(prompt, "CheckpointLoaderSimple")]["inputs"]["ckpt_name"] = self.checkpoint
        return prompt

    @property
    def persona(self) -> str:
        """One that nobody had to learn."""
        return f"made_for_{self.architecture}.safetensors"


INPAINTING = Family("inpainting", "SD1.x (clip_l, 768 wide)", (768,))
SD2 = Family("sd2_v", "SD2.x (clip_h, 1024 wide)", (1024,))
SDXL = Family("sdxl", "SDXL (clip_l + clip_g, 2048 wide)", (768, 1280))
SDXL_INPAINTING = Family("sdxl_inpainting", SDXL.called, SDXL.widths)
Z_IMAGE = Family("z_image", "custom (qwen3_4b, 64 wide)", (64,))
FAMILIES = [INPAINTING, SD2, SDXL, Z_IMAGE]
WORKFLOWS = {LEARN: "learn_and_generate", KV: "face_wise_kv_tokens"}
SMALL = {
    LEARN: {"steps": 2, "batch_size": 1, "tokens": 2},
    KV: {"steps": 2, "batch_size": 1, "pairs": 1, "augment": False},
}
LESSONS = [
    (INPAINTING, LEARN, {}),
    (INPAINTING, KV, {}),
    (SD2, LEARN, {"supercategory": "plushie"}),  # of two tokens
    (Z_IMAGE, LEARN, {}),
    pytest.param(SD2, KV, {}, marks=pytest.mark.slow),
    pytest.param(SDXL, LEARN, {}, marks=pytest.mark.slow),
    pytest.param(SDXL, KV, {}, marks=pytest.mark.slow),
]
ELSEWHERE = {
    "empty": {"class_type": "EmptyImage", "inputs": {"width": 8, "height": 8, "batch_size": 1, "color": 0}},
    "shown": {"class_type": "PreviewImage", "inputs": {"images": ["empty", 0]}},
}


def named(value) -> str:
    """A parameter's part of a test's name."""
    if isinstance(value, Family):
        return value.architecture
    return value if isinstance(value, str) else "+".join(value) or "default"


@pytest.fixture(scope="module", autouse=True)
def material(server, photo, z_image):
    """The checkpoints, a persona for each, and a picture whose left half is to be painted anew."""
    for seed, family in enumerate([*FAMILIES, SDXL_INPAINTING]):
        if family.architecture in random_checkpoint.ARCHITECTURES:
            random_checkpoint.build(server.base / "models/checkpoints" / family.checkpoint, family.architecture)
        width, generator = sum(family.widths), torch.Generator().manual_seed(seed)
        word = 0.1 * torch.randn(width, generator=generator)
        vectors = 0.1 * torch.randn(1, 2, width, generator=generator)
        persona = Persona(family.architecture, KVTokens(word, vectors, family.widths), family.called, "face")
        persona.save(server.base / "models/personas" / family.persona)
    alpha = np.full((64, 64), 255, np.uint8)
    alpha[:, :32] = 0  # the host's mask is what is transparent
    picture, buffer = Image.open(photo).convert("RGB").resize((64, 64)), io.BytesIO()
    picture.putalpha(Image.fromarray(alpha))
    picture.save(buffer, "PNG")
    server.upload_image(buffer.getvalue(), "half.png")


def painting(family: Family, persona_of: Family) -> dict:
    """A prompt that paints with a family's checkpoint and the persona of the same or another."""
    return family.load(workflow("load_and_generate", {"PersonaLoad": {"persona_name": persona_of.persona}}))


def learning(family: Family, node: str, text: str, **inputs) -> dict:
    """A prompt that learns with a node and paints."""
    changes = {node: {"name": f"{family.architecture}_{node}", **SMALL[node], **inputs}}
    prompt = family.load(workflow(WORKFLOWS[node], changes))
    prompt[positive(prompt)]["inputs"]["text"] = text
    prompt = only(prompt, "SaveImage")
    return with_few_contexts(prompt) if node == LEARN else prompt


def positive(prompt: dict) -> str:
    """The id of the node that encodes the positive prompt."""
    return prompt[find(prompt, "KSampler")]["inputs"]["positive"][0]


def paint(server, prompt: dict, texts=None) -> np.ndarray:
    run = server.run(prompt, texts)
    assert run.status == "success", run.error
    [picture] = pictures(server, run, find(prompt, "SaveImage"))
    assert picture.shape == (64, 64, 3) and picture.std() > 5  # not numbers would be saved as black
    return picture.astype(int)


@pytest.mark.parametrize(("family", "node", "inputs"), LESSONS, ids=named)
def test_it_is_learned_once_and_paints(server, texts, family, node, inputs):
    first = paint(server, learning(family, node, "a photo of <ann> in snow", **inputs), texts)
    name = f"{family.architecture}_{node}"
    persona = Persona.load(server.base / f"models/personas/{name}.safetensors")
    assert persona.family == family.called and persona.representation.widths == family.widths
    assert len(persona.losses["noise"]) == 2 and np.isfinite([*persona.losses.values()]).all()
    assert f"Learning '{name}'" in "\n".join(texts)
    server.run(ELSEWHERE)  # now the host has forgotten what its nodes gave
    texts.clear()
    other = paint(server, learning(family, node, "an oil painting of <ann>", **inputs), texts)
    assert f"Loaded '{name}'" in "\n".join(texts) and "Learning" not in "\n".join(texts)
    assert np.abs(first - other).max() > 0


@pytest.mark.parametrize("family", FAMILIES, ids=named)
def test_its_stages_come_from_its_attention(server, texts, family):
    prompt = family.load(workflow("stages_from_attention", {PARTITION: {"grid_step": 200}}))
    prompt = only(prompt, "PreviewImage")
    run = server.run(prompt, texts)
    assert run.status == "success", run.error
    assert "Dynamic stage" in "\n".join(texts)
    [maps] = pictures(server, run, find(prompt, "PreviewImage"))
    assert maps.std() > 5


@pytest.mark.parametrize(("used_with", "learned_for"), permutations(FAMILIES, 2), ids=named)
def test_a_persona_of_another_family_is_refused_and_both_are_named(server, learned_for, used_with):
    run = server.run(painting(used_with, learned_for))
    assert (run.status, run.error_type) == ("error", APPLY)
    assert learned_for.called in run.error and used_with.called in run.error


def test_sd2_predicts_velocity(server):
    paint(server, painting(SD2, SD2))
    assert "model_type V_PREDICTION" in server.log.read_text()


def test_sdxls_own_encoder_node_and_two_samplers_one_after_the_other(server):
    """The second sampler, as a refiner does, goes on from the first one's noise; its MODEL is not Apply's."""
    prompt = painting(SDXL, SDXL)
    text, sampler, save = positive(prompt), find(prompt, "KSampler"), find(prompt, "SaveImage")
    sizes = dict.fromkeys(("width", "height", "target_width", "target_height"), 64) | {"crop_w": 0, "crop_h": 0}
    words = {"text_l": "snow, a photo of <ann>", "text_g": "<ann> in snow"}
    inputs = {"clip": prompt[text]["inputs"]["clip"], **words, **sizes}
    prompt[text] = {"class_type": "CLIPTextEncodeSDXL", "inputs": inputs}
    whole = prompt[sampler]["inputs"]
    shared = {key: value for key, value in whole.items() if key not in ("seed", "denoise")}

    def part(first: int, last: int, **inputs) -> dict:
        steps = {"start_at_step": first, "end_at_step": last, "noise_seed": whole["seed"]}
        return {"class_type": "KSamplerAdvanced", "inputs": {**shared, **steps, **inputs}}

    model = [find(prompt, "CheckpointLoaderSimple"), 0]
    prompt["base"] = part(0, 2, add_noise="enable", return_with_leftover_noise="enable")
    prompt["second"] = part(
        2, 4, add_noise="disable", return_with_leftover_noise="disable", latent_image=["base", 0], model=model
    )
    decode = {**prompt[find(prompt, "VAEDecode")]["inputs"], "samples": ["second", 0]}
    prompt["decode"] = {"class_type": "VAEDecode", "inputs": decode}
    prompt["save"] = {"class_type": "SaveImage", "inputs": {"images": ["decode", 0], "filename_prefix": "two_samplers"}}
    run = server.run(prompt)
    assert run.status == "success", run.error
    (one,), (two,) = (pictures(server, run, node) for node in (save, "save"))
    assert one.std() > 5 and np.abs(one.astype(int) - two).max() <= 1
    prompt[find(prompt, APPLY)]["inputs"]["strength"] = 0.0
    word = paint(server, only(prompt, "SaveImage"))
    assert np.abs(word - one).max() > 10


@pytest.mark.parametrize("family", [INPAINTING, pytest.param(SDXL_INPAINTING, marks=pytest.mark.slow)], ids=named)
@pytest.mark.parametrize("way", ["VAEEncodeForInpaint", "InpaintModelConditioning"])
def test_what_is_in_painted_is_the_persona_and_the_rest_stays(server, family, way):
    def paint_with(strength: float) -> np.ndarray:
        prompt = painting(family, family)
        sampler, vae = prompt[find(prompt, "KSampler")]["inputs"], [find(prompt, "CheckpointLoaderSimple"), 2]
        prompt[find(prompt, APPLY)]["inputs"]["strength"] = strength
        prompt["photo"] = {"class_type": "LoadImage", "inputs": {"image": "half.png"}}
        inputs = {"pixels": ["photo", 0], "mask": ["photo", 1], "vae": vae}
        if way == "VAEEncodeForInpaint":
            prompt[way] = {"class_type": way, "inputs": {**inputs, "grow_mask_by": 0}}
            sampler["latent_image"] = [way, 0]
        else:
            inputs |= {"positive": sampler["positive"], "negative": sampler["negative"], "noise_mask": True}
            prompt[way] = {"class_type": way, "inputs": inputs}
            sampler |= {"positive": [way, 0], "negative": [way, 1], "latent_image": [way, 2]}
        return paint(server, prompt)

    persona, word = paint_with(1.0), paint_with(0.0)
    changed = np.abs(persona - word).max((0, 2))
    assert changed[:24].mean() > 10 and changed[40:].max() < 5  # levels; the VAE looks a little way around
