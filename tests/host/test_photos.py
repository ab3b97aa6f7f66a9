"""Pictures of whatever channels an artist's nodes give."""

import folder_paths
import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

from nodes import LoadImage
from persona_core.host.photos import opened, warn_of_blur, warn_of_white
from persona_core.photos import Photo, cropped, rgb, sized
from persona_core.recipes import StageMapperRecipe


@pytest.fixture(scope="module")
def face():
    return torch.from_numpy(data.astronaut()).float()[None] / 255


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_a_face_is_found_in_a_picture_of_any_channels(face, channels):
    given = face.mean(-1, keepdim=True) if channels < 3 else face
    given = torch.cat([given, torch.ones_like(given[..., :1])], -1) if channels in (2, 4) else given
    recipe = StageMapperRecipe(resolution=128)
    [photo] = sized(cropped(given, None, recipe, crop=True, pack=None), recipe, multiple=8)
    assert given.shape[-1] == channels and photo.image.shape == (128, 128, 3) and photo.mask.max() > 0.9


@pytest.mark.parametrize("file", ["a.png", "grey.png", "a.jpg", "turned.jpg", "a.webp", "a.bmp", "deep.png"])
def test_a_file_is_read_as_load_image_reads_it(face, file, tmp_path, monkeypatch):
    monkeypatch.setattr(folder_paths, "get_input_directory", lambda: str(tmp_path))
    image, saved = Image.fromarray(data.astronaut()[:200]), {}
    if file == "grey.png":
        image = image.convert("L")
    if file == "deep.png":
        image = Image.fromarray(np.arange(65536, dtype=np.uint16).reshape(256, 256))
    if file == "turned.jpg":
        saved["exif"] = Image.Exif()
        saved["exif"][0x112] = 6
    image.save(tmp_path / file, **saved)
    theirs = LoadImage().load_image(file)[0]
    ours = opened([(tmp_path / file).read_bytes()])
    assert torch.equal(ours, theirs[..., :3].float()) and ours.shape[-1] == 3


def test_a_grey_png_of_16_bit_that_the_host_cuts_off_is_told(face, caplog):
    """As the host's Load Image reads it up to 0.3.75 and later: all above 255 of 65535 is white."""
    part = face[:, :200, 100:350].mean(-1, keepdim=True)
    warn_of_white((part * 257).clamp(max=1).expand(-1, -1, -1, 3))
    assert len(caplog.records) == 1 and "16 bit" in caplog.records[0].message
    before_a_wall = torch.where(torch.rand(1, 512, 512, 1) < 0.9, torch.ones(()), face)
    warn_of_white(torch.cat([face, before_a_wall]))
    assert len(caplog.records) == 1


def test_a_face_that_learning_enlarges_more_than_twice_is_told(face, caplog):
    recipe = StageMapperRecipe(resolution=128)
    [large] = cropped(face, None, recipe, crop=True, pack=None)
    small = Photo(large.image[:60, :60], large.mask[:60, :60])
    warn_of_blur([large, small], recipe.resolution)
    assert len(caplog.records) == 1
    assert "picture 1 is about 60 pixels a side, and is enlarged to 128" in caplog.records[0].message


def test_grey_is_the_same_in_all_three():
    grey = torch.rand(2, 4, 4, 1)
    assert torch.equal(rgb(grey), torch.cat([grey] * 3, -1))
