"""Learning and painting a person of the small world on a server, by the workflows that the pack gives to artists.

The settings are here for all who do so: demo, tests, and the graph for the editor.
"""

import copy
import io
import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from .measuring.subjects import Subject

WORKFLOWS = Path(__file__).resolve().parents[1] / "workflows/api"
PERSONA_MAGIC, KV_TOKENS = "learn_and_generate", "face_wise_kv_tokens"
LEARNERS = "PersonaLearn", "PersonaKVTokens"
PLACEHOLDER, OTHER, WORD = "<ann>", "<bob>", "person"
SIZE = 128
SHOWN = 512  # pixels a side of the files: editors show small pictures small
# The photo is no larger than what is painted, and shows little else.
LEARNED = {"name": "ann", "supercategory": WORD, "resolution": SIZE, "crop_to_face": False}
SETTINGS = {
    "PersonaLearn": LEARNED,
    # What K/V tokens gain from looking at attention and at variants of the photo, they gain later.
    "PersonaKVTokens": LEARNED | {"attention_weight": 0.0, "augment": False},
    "EmptyLatentImage": {"width": SIZE, "height": SIZE, "batch_size": 1},
    "KSampler": {"seed": 0, "steps": 20, "cfg": 5.0, "sampler_name": "euler", "scheduler": "normal"},
}


def learn_and_paint(photo: str, mask: str, workflow: str = PERSONA_MAGIC, **changes: dict) -> dict:
    """A workflow in API form, with the small painter for a checkpoint and a mask from a file.

    photo, mask: their names in the input folder. workflow: PERSONA_MAGIC or KV_TOKENS. changes: {class_type: {input:
    value}}.
    """
    prompt = json.loads((WORKFLOWS / f"{workflow}.json").read_text(encoding="utf-8"))
    ids = {node["class_type"]: key for key, node in prompt.items()}
    prompt[ids["CheckpointLoaderSimple"]] = {
        "inputs": {},
        "class_type": "MiniWorldLoader",
        "_meta": {"title": "Load Small Painter"},
    }
    # Detectors look for faces of photographs.
    prompt[ids["PersonaFaceMask"]] = {
        "inputs": {"image": mask, "channel": "red"},
        "class_type": "LoadImageMask",
        "_meta": {"title": "Load Image (as Mask)"},
    }
    prompt.pop(ids.get("PersonaAttention"), None)  # a look at attention is a second painting
    prompt[ids["LoadImage"]]["inputs"]["image"] = photo
    prompt[sampler(prompt)["negative"][0]]["inputs"]["text"] = ""
    for edits in (SETTINGS, changes):
        for node in prompt.values():
            node["inputs"] |= edits.get(node["class_type"], {})
    return asking(prompt, f"a photo of {PLACEHOLDER} wearing a red cap")


def sampler(prompt: dict) -> dict:
    return next(node["inputs"] for node in prompt.values() if node["class_type"] == "KSampler")


def learner(prompt: dict) -> dict:
    return next(node["inputs"] for node in prompt.values() if node["class_type"] in LEARNERS)


def asking(prompt: dict, text: str, seed: int = 0) -> dict:
    """The prompt with this text and seed."""
    prompt = copy.deepcopy(prompt)
    sampler(prompt)["seed"] = seed
    prompt[sampler(prompt)["positive"][0]]["inputs"]["text"] = text
    return prompt


def beside(prompt: dict, name: str) -> dict:
    """The prompt with a second persona, which was saved under that name, for the placeholder OTHER."""
    prompt = copy.deepcopy(prompt)
    [first] = [key for key, node in prompt.items() if node["class_type"] == "PersonaApply"]
    for node in prompt.values():
        for key, value in node["inputs"].items():
            if isinstance(value, list) and value[0] == first:
                node["inputs"][key] = ["19", value[1]]
    links = {"model": [first, 0], "clip": [first, 1], "persona": ["18", 0], "placeholder": OTHER}
    prompt["18"] = {"inputs": {"persona_name": f"{name}.safetensors"}, "class_type": "PersonaLoad"}
    prompt["19"] = {"inputs": prompt[first]["inputs"] | links, "class_type": "PersonaApply"}
    return prompt


def only_learning(prompt: dict) -> dict:
    """The part of the prompt that learns, whether it was learned before or not."""
    needed = "MiniWorldLoader", "LoadImage", "LoadImageMask", *LEARNERS
    prompt = copy.deepcopy({key: node for key, node in prompt.items() if node["class_type"] in needed})
    learner(prompt)["reuse"] = False
    return prompt


def photo_files(person: Subject, name: str) -> dict[str, bytes]:
    """The photo and its mask, white where the person is, as PNG by the files' names."""
    return {f"{name}.png": png(person.photo), f"{name}_mask.png": png(person.mask.expand(3, -1, -1))}


def png(picture: Tensor) -> bytes:
    """[3, H, W] in 0..1, enlarged to be looked at."""
    pixels, file = picture.movedim(0, -1).mul(255).round().byte().numpy(), io.BytesIO()
    Image.fromarray(pixels).resize((SHOWN, SHOWN), Image.Resampling.LANCZOS).save(file, "PNG")
    return file.getvalue()


def upload(server, person: Subject, name: str) -> list[str]:
    """Put the photo and its mask into the input folder of a ComfyServer: for `learn_and_paint`."""
    return [server.upload_image(content, file) for file, content in photo_files(person, name).items()]


def paint(server, prompt: dict) -> Tensor:
    """Run the prompt on a ComfyServer: its pictures [B, 3, 128, 128] in 0..1."""
    run = server.run(prompt)
    if run.status != "success":
        raise RuntimeError(f"{run.error_type}: {run.error}")
    [saver] = [key for key, node in prompt.items() if node["class_type"] == "SaveImage"]
    files = [io.BytesIO(server.view(file)) for file in run.outputs[saver]["images"]]
    pixels = torch.from_numpy(np.stack([np.asarray(Image.open(file)) for file in files]))
    return pixels.movedim(-1, 1) / 255
