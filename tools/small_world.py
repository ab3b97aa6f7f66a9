"""The made-up world for those who have no checkpoint: its folder on a server, and who is in it."""

import functools
from pathlib import Path

from miniworld import workflow
from miniworld.measuring.subjects import Subject, subject
from tools.environment import PACK

NODE_PACK = PACK / "miniworld"
GRAPH = NODE_PACK / "example_workflows/learn_a_face.json"  # listed in the editor's Templates, as miniworld's
# Apart from the folder for real checkpoints: neither needs the other's nodes and personas.
BASE = PACK / ".comfyui/miniworld"
PHOTO, OTHER_PHOTO = "someone", "another"


@functools.cache
def people() -> tuple[Subject, Subject]:
    """The two of the demo, whom the painter has never seen: who is learned, and who stands beside them once."""
    return subject(8, "demo"), subject(7, "demo")


def place_photo(base: Path = BASE) -> None:
    """Put the person's photo and its mask into the input folder."""
    folder = base / "input"
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in workflow.photo_files(people()[0], PHOTO).items():
        (folder / name).write_bytes(content)


def learn_and_paint() -> dict:
    """The prompt for that photo."""
    return workflow.learn_and_paint(*workflow.photo_files(people()[0], PHOTO))
