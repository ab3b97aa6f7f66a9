"""A watermark in a picture's pixels: what it stands, what it leaves alone, and what is said where there is none."""

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from PIL import Image

from persona_core import watermark
from persona_core.provenance import marked_png, read
from persona_core.provenance_report import describe
from persona_core.watermark import AGREE, LARGEST, SMALLEST, WORD, agreeing, look, marked

PHOTO = Image.fromarray(skimage.data.astronaut())


@pytest.fixture(scope="module")
def carrying():
    return marked(PHOTO)


def as_file(picture: Image.Image, kind: str, **options) -> bytes:
    content = io.BytesIO()
    picture.save(content, kind, **options)
    return content.getvalue()


def told(content: bytes) -> str:
    return describe(read(content), None, [], look(content))


@pytest.mark.parametrize(
    "content",
    [
        lambda one: as_file(one, "PNG"),
        lambda one: as_file(one, "JPEG", quality=50),
        lambda one: as_file(one, "WEBP", quality=80),
        lambda one: as_file(one.resize((256, 256)), "JPEG", quality=75),
        lambda one: as_file(one.resize((900, 700)), "JPEG", quality=75),
    ],
)
def test_it_is_read_again_from_jpeg_and_at_other_sizes(carrying, content):
    said = told(content(carrying))
    assert said.startswith("marked as generated: yes, in its pixels\n") and "watermark: yes" in said


def test_a_cut_loses_it_and_a_picture_without_it_has_none(carrying):
    for picture in (PHOTO, carrying.crop((50, 50, 460, 460)), Image.new("RGB", (300, 300)), Image.new("L", (1, 1))):
        said = told(as_file(picture, "PNG"))
        assert said.startswith("marked as generated: no") and "watermark: none found. That proves nothing" in said


def test_the_picture_stays_what_it_was(carrying):
    one, other = (np.asarray(picture).astype(float) for picture in (PHOTO, carrying))
    assert carrying.size == PHOTO.size and 10 * np.log10(255**2 / ((one - other) ** 2).mean()) > 36


def test_any_shape_is_taken_and_what_is_transparent_stays_so():
    wide = PHOTO.resize((701, 403)).convert("RGBA")
    wide.putalpha(Image.linear_gradient("L").resize(wide.size))
    found = marked(wide)
    assert found.mode == "RGBA" and found.size == wide.size and agreeing(found) == len(WORD)
    assert (np.asarray(found)[..., 3] == np.asarray(wide)[..., 3]).all()


def test_a_picture_that_is_too_small_is_a_sentence():
    with pytest.raises(ValueError, match=f"24 x 300.*{SMALLEST} pixels a side") as ended:
        marked(PHOTO.resize((24, 300)))
    assert len(str(ended.value)) < 200


def test_tossed_coins_do_not_look_like_it():
    """What chance does to bits that no picture has: never near, in a million tries."""
    coins = np.random.default_rng(0).integers(0, 2, (1_000_000, len(WORD)), dtype=np.uint8)
    assert (coins == WORD).sum(1).max() < AGREE


def test_without_the_library_it_is_said(carrying, monkeypatch):
    monkeypatch.setattr(watermark, "library", lambda: None)
    said = told(marked_png(carrying, {}))
    assert "watermark: not looked for (pip install blind-watermark" in said
    assert said.startswith("marked as generated: yes, in its metadata\n")
    with pytest.raises(ValueError, match="blind-watermark is missing.*turn watermark off"):
        marked(PHOTO)


def test_files_that_are_too_large_or_damaged_are_not_looked_at(carrying):
    side = int(LARGEST**0.5) + 1
    assert "million pixels" in look(as_file(Image.new("1", (side, side)), "PNG")).unread
    content = as_file(carrying, "PNG")
    for broken in (content[:2000], b"none", content.replace(b"IDAT", b"IDAX")):
        assert look(broken).unread == "its pixels cannot be read"


@pytest.mark.parametrize("before", ["None", "'spawn'"])
def test_the_library_changes_nothing_of_the_host(before):
    """It would say at its import how all of Python starts processes, and greet on the console."""
    says = f"""
import multiprocessing, random
import numpy as np
multiprocessing.set_start_method({before}, force=True)
np.random.seed(1), random.seed(1)
states = np.random.get_state()[1].tolist(), random.getstate()
from PIL import Image
from persona_core.watermark import agreeing, marked
agreeing(marked(Image.effect_noise((256, 256), 50).convert("RGB")))
assert multiprocessing.get_start_method(allow_none=True) == {before}
assert states == (np.random.get_state()[1].tolist(), random.getstate())
"""
    pack = Path(__file__).resolve().parents[2]
    ended = subprocess.run([sys.executable, "-c", says], capture_output=True, text=True, cwd=pack)
    assert ended.returncode == 0 and not ended.stdout + ended.stderr, ended
