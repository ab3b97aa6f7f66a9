"""The demo with a checkpoint of the user's own: the whole workflow, at its full size."""

import json
import os
import sys
from pathlib import Path

from skimage import data, io

from tools.comfy_server import ComfyServer
from tools.demo_run import collect, follow, tell_results
from tools.environment import PACK

BASE = PACK / ".comfyui/base"
WORKFLOW = PACK / "workflows/api/learn_and_generate.json"


def place_checkpoint() -> str:
    """Make the file that CHECKPOINT names one of ComfyUI's; its name there."""
    folder = BASE / "models/checkpoints"
    folder.mkdir(parents=True, exist_ok=True)
    file = Path(os.environ["CHECKPOINT"]).expanduser().resolve()
    if not file.is_file():
        sys.exit(f"CHECKPOINT is {file}, but there is no such file.")
    link = folder / file.name
    if link.resolve() != file:
        link.unlink(missing_ok=True)
        link.symlink_to(file)
    return link.name


def fill_in(prompt: dict, checkpoint: str, photo: str) -> dict:
    for node in prompt.values():
        if node["class_type"] == "CheckpointLoaderSimple":
            node["inputs"]["ckpt_name"] = checkpoint
        elif node["class_type"] == "LoadImage":
            node["inputs"]["image"] = photo
    return prompt


def main() -> None:
    checkpoint = place_checkpoint()
    photo = BASE / "input/example.png"  # the name that the workflows have
    photo.parent.mkdir(parents=True, exist_ok=True)
    io.imsave(photo, data.astronaut(), check_contrast=False)  # Eileen Collins; a portrait by NASA
    print(f"Starting ComfyUI (a few seconds); its log is {BASE / 'server.log'}")
    with ComfyServer(BASE) as server:
        prompt = fill_in(json.loads(WORKFLOW.read_text()), checkpoint, server.upload_image(photo, photo.name))
        files = collect(server, follow(server, prompt), prompt)
    print(f"\nDone. The photo was {photo.relative_to(PACK)}.")
    tell_results(files)
