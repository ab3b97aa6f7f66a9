"""A prompt of the demo: run it, show on the terminal how far it is, keep what came out."""

import re
import shutil
import sys
import time
from pathlib import Path

from tools.comfy_server import ComfyServer, Run
from tools.environment import PACK

RESULTS = PACK / "demo"


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


def follow(server: ComfyServer, prompt: dict) -> Run:
    """Run a prompt to its end; a failure ends the demo with what the server said."""
    progress = Progress(prompt)
    run = server.run(prompt, progress, timeout=24 * 3600)
    progress.done()
    if run.status != "success":
        sys.exit(f"{run.error_type or 'The run'}: {run.error or run.status}")
    return run


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
            persona = server.base / f"models/personas/{node['inputs']['name']}.safetensors"
            files.append(Path(shutil.copy(persona, RESULTS)))
    return files


def tell_results(files: list[Path]) -> None:
    print("\nThe results:\n" + "\n".join(f"  {file.relative_to(PACK)}" for file in files))
