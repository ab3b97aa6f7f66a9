"""The made-up world of tests/miniworld for those who have no checkpoint: its folder on a server, and who is in it."""

import sys
from pathlib import Path

from setup import PACK

# Not as tests.miniworld: other people's packages bring a `tests` too.
sys.path += [str(PACK), str(PACK / "tests")]

from miniworld import lesson, measuring  # noqa: E402

NODE_PACK = PACK / "tests/miniworld"
GRAPH = NODE_PACK / "example_workflows/learn_a_face.json"  # listed in the editor's Templates, as miniworld's
# Apart from the folder for real checkpoints: neither needs the other's nodes and personas.
BASE = PACK / ".comfyui/miniworld"
PHOTO = "someone.png"
PERSON = measuring.sitter(3)  # whom the painter has never seen


def place_photo(base: Path = BASE) -> None:
    """Put the person's photo into the input folder."""
    file = base / "input" / PHOTO
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(lesson.photo_file(PERSON))
