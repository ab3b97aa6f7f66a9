"""Face Mask's work on a batch: mask, crop and boxes of each picture, and what becomes of one without a face."""

import pytest
import skimage.data
import torch

from persona_core.faces import NoFaceFound
from persona_core.faces.extraction import SKIP, WHOLE, crop_square, extract_faces


@pytest.fixture(scope="module")
def pictures():
    """The astronaut, and a picture with nobody."""
    astronaut = torch.from_numpy(skimage.data.astronaut()).float() / 255
    return torch.stack([astronaut, torch.full_like(astronaut, 0.5)])


def test_a_picture_without_a_face_stops_with_its_number_and_what_to_do(pictures):
    with pytest.raises(NoFaceFound, match="picture 1 .* set no_face to whole picture or skip picture"):
        extract_faces(pictures, None)


def test_a_picture_without_a_face_is_skipped_or_whole(pictures):
    seen = []
    skipped = extract_faces(pictures, None, no_face=SKIP, crop_size=64, on_picture=lambda: seen.append(1))
    whole = extract_faces(pictures, None, no_face=WHOLE, crop_size=64)
    assert len(seen) == 2 and skipped.found == whole.found == 1
    assert skipped.masks.shape == (1, 512, 512) and skipped.crops.shape == (1, 64, 64, 3)
    assert whole.masks.shape == (2, 512, 512) and whole.boxes.shape == (2, 512, 512, 3)
    assert torch.equal(whole.masks[0], skipped.masks[0]) and skipped.masks.min() < 0.1
    assert (whole.masks[1] == 1).all() and (whole.crops[1] - 0.5).abs().max() < 1 / 255


def test_the_chosen_face_has_a_green_box_and_nothing_else_is_drawn(pictures):
    boxes = extract_faces(pictures[:1], None).boxes[0]
    drawn = (boxes - pictures[0]).abs().amax(-1) > 2 / 255
    green = (boxes * 255).round() == torch.tensor([64, 220, 96])
    assert 0 < green.all(-1).sum() <= drawn.sum() < 0.02 * drawn.numel()


def test_nothing_left_is_told(pictures):
    with pytest.raises(NoFaceFound, match="No picture of the 1 has a face number 0"):
        extract_faces(pictures[1:], None, no_face=SKIP)


def test_a_crop_of_its_own_size_is_the_picture(pictures):
    assert torch.equal(crop_square(pictures[0], (100, 50, 164, 114), 64), pictures[0, 50:114, 100:164])
