"""A huge photo takes little memory beside itself and what is asked for."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from persona_core.pixels import from_pil, to_bytes, to_pil

PACK = Path(__file__).resolve().parents[2]
SIDE = 6000
MEASURED = """
import resource, sys, torch
sys.path.insert(0, {pack!r})
from persona_core.faces.extraction import extract_faces
from persona_core.photos import cropped
from persona_core.recipes import StageMapperRecipe
extract_faces(torch.rand(1, 64, 64, 3), None, no_face="whole picture")  # what is imported is no picture's
picture = torch.full((1, {side}, {side}, 3), 0.5)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
{what}
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 / (picture.numel() * 4))
"""
WHAT = {
    "extract_faces(picture, None, no_face='whole picture')": 2.3,  # of which 1 1/3 are the mask and the boxes' picture
    "cropped(picture, torch.ones(1, {side}, {side}), StageMapperRecipe(), True, None)": 1.3,  # of which a third is the mask
}


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads Linux' peak memory")
@pytest.mark.parametrize("what", WHAT)
def test_a_huge_photo_is_copied_hardly_more_than_asked_for(what):
    code = MEASURED.format(pack=str(PACK), side=SIDE, what=what.format(side=SIDE))
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stderr
    assert float(ended.stdout) < WHAT[what], "times the picture's own memory"


def test_bytes_are_rounded_row_by_row_as_at_once():
    image = torch.rand(1000, 7, 3, generator=torch.Generator().manual_seed(0)) * 1.2 - 0.1
    image[3, 3] = torch.nan
    at_once = (image.nan_to_num() * 255).round().clamp(0, 255).byte()
    assert torch.equal(torch.from_numpy(to_bytes(image)), at_once)
    back = from_pil(to_pil(image))
    assert back.dtype == torch.float32 and torch.equal(back, at_once.float() / 255)
