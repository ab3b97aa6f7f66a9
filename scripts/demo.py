"""Learn a persona from one photo and paint with it, in a real ComfyUI; results go to demo/."""

import json
import os
import re
import shutil
import sys
import time
from pathlib import Path

import random_checkpoint
from comfy_server import ComfyServer, Run
from setup import PACK
from skimage import data, io

BASE = PACK / ".comfyui/base"
RESULTS = PACK / "demo"
WORKFLOW = PACK / "workflows/api/learn_and_generate.json"
# A random checkpoint has nothing to teach: few steps on a small picture show every part at work.
QUICK = {"steps": 40, "resolution": 128, "width": 128, "height": 128}


def place_checkpoint() -> tuple[str, bool]:
    """The checkpoint's name in ComfyUI, and whether it is the random one."""
    folder = BASE / "models/checkpoints"
    folder.mkdir(parents=True, exist_ok=True)
    if not (named := os.environ.get("CHECKPOINT")):
        return random_checkpoint.build(folder / "random_sd15.ckpt").name, True
    file = Path(named).expanduser().resolve()
    if not file.is_file():
        sys.exit(f"CHECKPOINT is {file}, but there is no such file.")
    link = folder / file.name
    if link.resolve() != file:
        link.unlink(missing_ok=True)
        link.symlink_to(file)
    return link.name, False


def fill_in(prompt: dict, checkpoint: str, photo: str, quick: bool) -> dict:
    """Set the prompt's checkpoint and photo and, for a quick run, its sizes and step counts."""
    for node in prompt.values():
        inputs = node["inputs"]
        if node["class_type"] == "CheckpointLoaderSimple":
            inputs["ckpt_name"] = checkpoint
        elif node["class_type"] == "LoadImage":
            inputs["image"] = photo
        elif quick:
            # A list is a link to another node, which has the number.
            inputs.update(
                {key: min(value, inputs[key]) for key, value in QUICK.items() if isinstance(inputs.get(key), int)}
            )
    return prompt


def title(node: dict) -> str:
    return node.get("_meta", {}).get("title", node["class_type"])


class Progress:
    """One line on the terminal: the node at work, its step, its status text."""

    def __init__(self, prompt: dict):
        self.titles = {key: title(node) for key, node in prompt.items()}
        self.node, self.step, self.text, self.start = None, "", "", time.monotonic()

    def __call__(self, kind: str, data: dict) -> None:
        if kind == "executing" and data["node"]:
            self.node, self.step, self.text = data["node"], "", ""
        elif kind == "progress":
            self.step = f"{data['value']:.0f}/{data['max']:.0f}"
        elif kind == "text":
            self.text = data["text"].splitlines()[0] if data["text"] else ""
        else:
            return
        line = "  ".join(filter(None, (self.titles.get(self.node, ""), self.step, self.text)))
        width = shutil.get_terminal_size().columns - 1
        line = f"{time.monotonic() - self.start:4.0f} s  {line}"[:width]
        if sys.stdout.isatty():
            print(f"\r{line:<{width}}", end="", flush=True)
        elif kind == "executing":  # into a file: a line a node
            print(line, flush=True)

    def done(self) -> None:
        if sys.stdout.isatty():
            print()


def collect(server: ComfyServer, run: Run, prompt: dict) -> list[Path]:
    """Copy the run's pictures, named by their nodes' titles, and the persona into demo/."""
    RESULTS.mkdir(exist_ok=True)
    files = []
    for key, output in run.outputs.items():
        name = re.sub(r"\W+", "_", title(prompt[key]).lower()).strip("_")
        for number, image in enumerate(output.get("images", []), start=1):
            files.append(RESULTS / f"{name}_{number}.png")
            files[-1].write_bytes(server.view(image))
    for node in prompt.values():
        if node["class_type"] == "PersonaLearn":
            persona = BASE / f"models/personas/{node['inputs']['name']}.safetensors"
            files.append(Path(shutil.copy(persona, RESULTS)))
    return files


def main() -> None:
    checkpoint, is_random = place_checkpoint()
    prompt = json.loads(WORKFLOW.read_text())
    photo = BASE / "input/example.png"  # the name that the workflows have
    photo.parent.mkdir(parents=True, exist_ok=True)
    io.imsave(photo, data.astronaut(), check_contrast=False)  # Eileen Collins; a portrait by NASA
    print(f"Starting ComfyUI (a few seconds); its log is {BASE / 'server.log'}")
    with ComfyServer(BASE) as server:
        prompt = fill_in(prompt, checkpoint, server.upload_image(photo, photo.name), is_random)
        progress = Progress(prompt)
        run = server.run(prompt, progress, timeout=24 * 3600)
        progress.done()
        if run.status != "success":
            sys.exit(f"{run.error_type or 'The run'}: {run.error or run.status}")
        files = collect(server, run, prompt)
    print("\nDone. The photo was " + str(photo.relative_to(PACK)) + "; the results:")
    print("\n".join(f"  {file.relative_to(PACK)}" for file in files))
    if is_random:
        print(
            "The checkpoint was a random one, so these pictures are noise: they show that every part works."
            "\n\nNext, with a real Stable Diffusion 1.5 checkpoint:"
            "\n  CHECKPOINT=/path/to/model.safetensors make demo"
        )
    print("\nIn the browser:\n  make serve\nthen open the address it prints, and there Templates > ComfyUI-Persona.")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("\nStopped.")
