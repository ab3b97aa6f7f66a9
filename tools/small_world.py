"""The made-up world for those who have no checkpoint: its folder on a server, and who is in it."""

from pathlib import Path

from miniworld import measuring, workflow
from tools.environment import PACK

NODE_PACK = PACK / "miniworld"
GRAPH = NODE_PACK / "example_workflows/learn_a_face.json"  # listed in the editor's Templates, as miniworld's
# Apart from the folder for real checkpoints: neither needs the other's nodes and personas.
BASE = PACK / ".comfyui/miniworld"
PHOTO = "someone.png"
PERSON = measuring.sitter(3)  # whom the painter has never seen


def place_photo(base: Path = BASE) -> None:
    """Put the person's photo into the input folder."""
    file = base / "input" / PHOTO
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(workflow.photo_file(PERSON))
