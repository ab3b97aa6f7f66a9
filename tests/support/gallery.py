"""Personas in a server's folder, and the gallery that shows them."""

import json
from pathlib import Path

from PIL import Image
from prompts import FIRST_RELEASE
from safetensors import safe_open
from safetensors.torch import load_file, save_file


def put_persona(path: Path, colour: str = "", **metadata: str) -> Path:
    """Write the first release's small persona with other metadata, and beside it a picture of one colour."""
    source = FIRST_RELEASE / "kv_tokens.safetensors"
    with safe_open(source, "pt") as file:
        own = file.metadata()
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(load_file(source), path, own | metadata)
    if colour:
        Image.new("RGB", (64, 64), colour).save(path.with_suffix(".png"))
    return path


def with_settings(path: Path, **settings) -> dict[str, str]:
    """The settings of a persona's file and these, as its metadata holds them."""
    with safe_open(path, "pt") as file:
        return {"settings": json.dumps(json.loads(file.metadata()["settings"]) | settings)}


def open_gallery(page, search: str):
    """The gallery, opened in the sidebar and searched: other tests' personas would push these out of view, and only
    cards in view are read."""
    page.get_by_role("button", name="Personas").first.click()
    gallery = page.get_by_test_id("persona_gallery")
    gallery.get_by_role("article").first.wait_for()
    gallery.get_by_role("searchbox").fill(search)
    return gallery
