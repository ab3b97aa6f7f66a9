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
PHOTO, OTHER_PHOTO = "someone.png", "another.png"


@functools.cache
def people() -> tuple[Subject, Subject]:
    """The two of the demo, whom the painter has never seen: who is learned, and who stands beside them once."""
    return subject(8, "demo"), subject(7, "demo")


def place_photo(base: Path = BASE) -> None:
    """Put the person's photo into the input folder."""
    file = base / "input" / PHOTO
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(workflow.photo_file(people()[0]))
