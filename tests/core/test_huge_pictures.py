"""A huge photo, and many pictures, take little memory beside themselves and what is asked for."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from persona_core.pixels import from_pil, to_bytes, to_pil

PACK = Path(__file__).resolve().parents[2]
SIDE = 4500
MEASURED = """
import resource, sys, torch
sys.path.insert(0, {pack!r})
from persona_core import photos
from persona_core.faces import Face
from persona_core.faces import extraction
from persona_core.likeness import PictureScore, Reference, Scores
from persona_core.recipes import StageMapperRecipe
from persona_core.score_sheet import sheet
extraction.detect_faces = lambda *_: []
extraction.extract_faces(torch.rand(1, 64, 64, 3), None, no_face="whole picture")  # what is imported is no picture's
photos.faces.face_mask(Face((8, 8, 40, 40), 1.0), 64, 64)
photos.faces.locate_face = lambda picture, *_, **__: Face(tuple(picture.shape[0] * part for part in (0.4, 0.4, 0.6, 0.6)), 1.0)
recipe = StageMapperRecipe(resolution=64)
pictures = torch.full({shape}, 0.5)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
{what}
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 / (pictures.numel() * 4))
"""
HUGE, MANY = (1, SIDE, SIDE, 3), (60, 640, 640, 3)
FACES = "extraction.extract_faces(pictures, None, no_face='whole picture', crop_size=64)"
SHEET = "sheet(pictures, Scores((PictureScore((), ()),) * len(pictures), Reference(torch.ones(1, 4))))"
# What is asked for is, of the pictures' memory: a third, a mask; as much, the boxes' pictures or the sheet's.
WHAT = {
    "faces, huge": (HUGE, FACES, 1.9),
    "faces, many": (MANY, FACES, 1.7),
    "masked, huge": (HUGE, "photos.sized(photos.cropped(pictures, torch.ones(1, {side}, {side}), recipe, True, None), recipe, 8)", 0.7),
    "of a face, huge": (HUGE, "photos.sized(photos.cropped(pictures, None, recipe, True, None), recipe, 8)", 0.85),
    "of a face, many": (MANY, "photos.sized(photos.cropped(pictures, None, recipe, True, None), recipe, 8)", 0.25),
    "almost white, huge": (HUGE, "list(photos.almost_white(pictures))", 0.3),
    "sheet, huge": (HUGE, SHEET, 2.0),
    "sheet, many": (MANY, SHEET, 1.4),
}  # fmt: skip


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads Linux' peak memory")
@pytest.mark.parametrize("what", WHAT)
def test_pictures_are_copied_hardly_more_than_asked_for(what):
    shape, call, most = WHAT[what]
    code = MEASURED.format(pack=str(PACK), shape=shape, what=call.format(side=SIDE))
    giving_back = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, env=giving_back)
    assert ended.returncode == 0, ended.stderr
    assert float(ended.stdout) < most, "times the pictures' own memory"


def test_bytes_are_rounded_row_by_row_as_at_once():
    image = torch.rand(1000, 7, 3, generator=torch.Generator().manual_seed(0)) * 1.2 - 0.1
    image[3, 3] = torch.nan
    at_once = (image.nan_to_num() * 255).round().clamp(0, 255).byte()
    assert torch.equal(torch.from_numpy(to_bytes(image)), at_once)
    back = from_pil(to_pil(image))
    assert back.dtype == torch.float32 and torch.equal(back, at_once.float() / 255)
