"""Learning and painting a person of the small world on a server, by the workflow that the pack gives to artists.

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

from .measuring import Sitter

WORKFLOW = Path(__file__).resolve().parents[1] / "workflows/api/learn_and_generate.json"
PLACEHOLDER, WORD = "<ann>", "face"
ENLARGED = 8  # what is saved, so that it can be seen in the editor
SETTINGS = {
    "PersonaLearn": {
        "name": "ann", "supercategory": WORD, "tokens": 1, "steps": 100, "learning_rate": 1e-3, "batch_size": 2,
        "te_weight": 0.3, "resolution": 32, "crop_to_face": False,
    },
    # The host takes an eighth of it for the latent, which here is the picture.
    "EmptyLatentImage": {"width": 256, "height": 256, "batch_size": 1},
    "KSampler": {"seed": 0, "steps": 20, "cfg": 3.0, "sampler_name": "euler", "scheduler": "normal"},
}  # fmt: skip


def learn_and_paint(photo: str, **changes: dict) -> dict:
    """learn_and_generate, in API form, with the small painter for a checkpoint and the photo's own mask.

    photo: its name in the input folder. changes: {class_type: {input: value}}.
    """
    prompt = json.loads(WORKFLOW.read_text(encoding="utf-8"))
    ids = {node["class_type"]: key for key, node in prompt.items()}
    prompt[ids["CheckpointLoaderSimple"]] = {
        "inputs": {},
        "class_type": "MiniWorldLoader",
        "_meta": {"title": "Load Small Painter"},
    }
    # Detectors look for faces of photographs.
    del prompt[ids["PersonaFaceMask"]]
    prompt[ids["PersonaLearn"]]["inputs"]["mask"] = [ids["LoadImage"], 1]
    prompt[ids["LoadImage"]]["inputs"]["image"] = photo
    prompt[sampler(prompt)["negative"][0]]["inputs"]["text"] = ""
    saver = prompt[ids["SaveImage"]]["inputs"]
    prompt["17"] = {
        "inputs": {"image": saver["images"], "upscale_method": "nearest-exact", "scale_by": float(ENLARGED)},
        "class_type": "ImageScaleBy",
        "_meta": {"title": "Enlarge"},
    }
    saver["images"] = ["17", 0]
    for edits in (SETTINGS, changes):
        for node in prompt.values():
            node["inputs"] |= edits.get(node["class_type"], {})
    return asking(prompt, f"a photo of a {PLACEHOLDER} wearing a red hat")


def sampler(prompt: dict) -> dict:
    return next(node["inputs"] for node in prompt.values() if node["class_type"] == "KSampler")


def asking(prompt: dict, text: str, seed: int = 0) -> dict:
    """The prompt with this text and seed."""
    prompt = copy.deepcopy(prompt)
    sampler(prompt)["seed"] = seed
    prompt[sampler(prompt)["positive"][0]]["inputs"]["text"] = text
    return prompt


def only_learning(prompt: dict) -> dict:
    """The part of the prompt that learns, whether it was learned before or not."""
    needed = "MiniWorldLoader", "LoadImage", "PersonaLearn"
    prompt = copy.deepcopy({key: node for key, node in prompt.items() if node["class_type"] in needed})
    next(node["inputs"] for node in prompt.values() if "reuse" in node["inputs"])["reuse"] = False
    return prompt


def photo_file(person: Sitter) -> bytes:
    """The photo as a PNG, transparent where the mask is: that is how LoadImage reads one."""
    pixels = torch.cat([person.photo, 1 - person.mask[None]]).movedim(0, -1)
    file = io.BytesIO()
    Image.fromarray(pixels.mul(255).round().byte().numpy()).save(file, "PNG")
    return file.getvalue()


def paint(server, prompt: dict) -> Tensor:
    """Run the prompt on a ComfyServer: its pictures [B, 3, 32, 32] in 0..1."""
    run = server.run(prompt)
    if run.status != "success":
        raise RuntimeError(f"{run.error_type}: {run.error}")
    [saver] = [key for key, node in prompt.items() if node["class_type"] == "SaveImage"]
    files = [io.BytesIO(server.view(file)) for file in run.outputs[saver]["images"]]
    pixels = torch.from_numpy(np.stack([np.asarray(Image.open(file))[::ENLARGED, ::ENLARGED] for file in files]))
    return pixels.movedim(-1, 1) / 255
