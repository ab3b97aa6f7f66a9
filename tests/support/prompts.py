"""The pack's own workflows, made small enough for a CPU and a random checkpoint."""

import copy
import io
import json
import time
from pathlib import Path

import numpy as np
from PIL import Image
from z_image_files import AUTOENCODER

API = Path(__file__).resolve().parents[2] / "workflows/api"
FIRST_RELEASE = Path(__file__).resolve().parents[1] / "first_release"
CHECKPOINT = "random_sd15.ckpt"
Z_IMAGE = "1", "28", "29"  # the nodes that load its MODEL, CLIP and VAE
SMALL = {
    "CheckpointLoaderSimple": {"ckpt_name": CHECKPOINT},
    "LoadImage": {"image": "photo.png"},
    "PersonaLearn": {"steps": 4, "learning_rate": 1e-4, "batch_size": 2, "resolution": 64},
    "PersonaKVTokens": {"steps": 4, "resolution": 64},
    "PersonaAttention": {"steps": 4, "cfg": 5.0, "sampler_name": "euler", "scheduler": "normal"},
    "PersonaStagePartition": {"grid_step": 100, "noise_draws": 1, "resolution": 64},
    "EmptyLatentImage": {"width": 64, "height": 64, "batch_size": 1},
    "EmptySD3LatentImage": {"width": 64, "height": 64, "batch_size": 1},
    "VAELoader": {"vae_name": AUTOENCODER},
    "KSampler": {"steps": 4, "cfg": 5.0, "sampler_name": "euler", "scheduler": "normal"},
}


def workflow(name: str = "learn_and_generate", changes: dict[str, dict] | None = None) -> dict:
    """A workflow in API form with SMALL and then `changes` ({class_type: {input: value}}) written into it."""
    prompt = json.loads((API / f"{name}.json").read_text())
    for edits in (SMALL, changes or {}):
        for node in prompt.values():
            node["inputs"] |= edits.get(node["class_type"], {})
    return prompt


def find(prompt: dict, class_type: str) -> str:
    """The id of the first node of a class."""
    return next(key for key, node in prompt.items() if node["class_type"] == class_type)


def only(prompt: dict, *outputs: str) -> dict:
    """The part of a prompt that nodes of these classes need."""
    kept, wanted = {}, [find(prompt, output) for output in outputs]
    while wanted:
        key = wanted.pop()
        kept[key] = copy.deepcopy(prompt[key])
        wanted += [value[0] for value in prompt[key]["inputs"].values() if isinstance(value, list)]
    return kept


def with_few_contexts(prompt: dict) -> dict:
    """The prompt with a dynamic stage of two grid points instead of 21, each of which a CPU encodes for a third of a
    second. SMALL's four steps still paint above it, in it and below it."""
    prompt = copy.deepcopy(prompt)
    prompt[find(prompt, "PersonaLearn")]["inputs"]["stages"] = ["stages", 0]
    return {**prompt, "stages": {"class_type": "PersonaStages", "inputs": {"t_lo": 660, "t_hi": 680}}}


def by_small_painter(prompt: dict) -> dict:
    """The prompt for a server with the small painter, of which nobody asks for likeness here."""
    return {**prompt, find(prompt, "CheckpointLoaderSimple"): {"class_type": "MiniWorldLoader", "inputs": {}}}


def with_z_image(prompt: dict) -> dict:
    """The prompt with Z-Image's base model in the place of its checkpoint."""
    loaders = {key: node for key, node in workflow("learn_with_z_image").items() if key in Z_IMAGE}
    checkpoint = find(prompt, "CheckpointLoaderSimple")
    prompt = copy.deepcopy({key: node for key, node in prompt.items() if key != checkpoint})
    for node in prompt.values():
        for name, value in node["inputs"].items():
            if isinstance(value, list) and value[0] == checkpoint:
                node["inputs"][name] = [Z_IMAGE[value[1]], 0]
    return {**prompt, **loaders}


def pictures(server, run, node: str) -> list[np.ndarray]:
    """The pictures [H, W, 3] in 0..255 that an output node of a run saved."""
    return [np.asarray(Image.open(io.BytesIO(server.view(file)))) for file in run.outputs[node]["images"]]


def run_all(server, prompts: list[dict]) -> list[dict]:
    """Queue prompts at once and wait until all are done: what history says of each."""
    queued = [server.submit(prompt) for prompt in prompts]
    deadline = time.monotonic() + 400
    while any(one not in (history := server.get("/history")) for one in queued):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    done = [history[one] for one in queued]
    assert all(one["status"]["status_str"] == "success" for one in done), [one["status"] for one in done]
    return done
