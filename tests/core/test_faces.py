"""Faces on real photos with the cascade; and through InsightFace's own code, with tiny models."""

import socket
import sys
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import torch

from persona_core import faces
from persona_core.faces.detection import resized
from tools.tiny_insightface import head_points, save_pack

# Those who look at the camera, largest first; read off the photo.
GROUP_FACES = [(516, 345), (1173, 340), (785, 420)]


def as_image(pixels):
    return torch.from_numpy(np.ascontiguousarray(pixels)).float() / 255


def centre(face):
    x0, y0, x1, y1 = face.box
    return np.array([(x0 + x1) / 2, (y0 + y1) / 2])


@pytest.fixture(scope="module")
def astronaut():
    return as_image(skimage.data.astronaut())


@pytest.fixture(scope="module")
def group_photo():
    data = pytest.importorskip("insightface.data")
    return as_image(data.get_image("t1", to_rgb=True))


@pytest.fixture(scope="module")
def group(group_photo):
    return faces.detect_faces(group_photo)


def landscape(height=300, width=400):
    """Hills under a sky: smooth noise of every scale, brighter to the top."""
    noise = torch.Generator().manual_seed(1)
    scales = [torch.rand(1, 3, 2**k, 2**k, generator=noise) / 2**k for k in range(1, 8)]
    hills = sum(torch.nn.functional.interpolate(scale, (height, width), mode="bilinear") for scale in scales)
    hills = hills[0].permute(1, 2, 0)
    return (hills * 0.6 + torch.linspace(0.5, 0, height)[:, None, None]).clamp(0, 1)


# ---------------------------------------------------------------- the cascade, on photos


@pytest.mark.parametrize("size", [160, 512, 1400])
def test_cascade_finds_the_astronaut(astronaut, size):
    image = resized(astronaut, size, size)
    found = faces.detect_faces(image)
    assert len(found) == 1, "the helmet, the badge and the flag are no faces"
    unit = size / 512
    assert np.linalg.norm(centre(found[0]) - np.array([223, 122]) * unit) < 12 * unit
    assert 70 * unit < found[0].box[2] - found[0].box[0] < 110 * unit


def test_mask_covers_the_head_and_nothing_else(astronaut):
    mask = faces.face_mask(faces.locate_face(astronaut), 512, 512)
    assert mask.shape == (512, 512) and mask.dtype == torch.float32
    assert mask.min() >= 0 and mask.max() <= 1
    inside = {"left eye": (203, 101), "right eye": (248, 103), "mouth": (224, 145), "hair": (225, 48)}
    for name, (x, y) in inside.items():
        assert mask[y, x] > 0.95, name
    assert mask[174, 224] > 0.5, "chin"
    for x, y in [(0, 0), (511, 0), (0, 511), (511, 511), (300, 380), (224, 215)]:
        assert mask[y, x] < 0.02
    assert ((mask > 0.05) & (mask < 0.95)).float().sum() > 300, "the edge is soft"
    assert (mask.diff(dim=0).abs().max()) < 0.25, "the edge is smooth"


def test_grow_and_softness(astronaut):
    face = faces.locate_face(astronaut)
    small, usual, large = (faces.face_mask(face, 512, 512, grow=g).sum() for g in (0.5, 1.0, 1.5))
    assert usual / small == pytest.approx(4, rel=0.1) and large / usual == pytest.approx(2.25, rel=0.15)
    assert set(faces.face_mask(face, 512, 512, softness=0).unique().tolist()) == {0.0, 1.0}


def test_mask_of_a_large_picture_is_the_small_one_enlarged(astronaut):
    face = faces.locate_face(astronaut)
    doubled = faces.Face(tuple(4 * v for v in face.box), face.score)
    large = faces.face_mask(doubled, 2048, 2048)
    small = faces.face_mask(face, 512, 512)
    assert (resized(large[..., None], 512, 512)[..., 0] - small).abs().max() < 0.06


def test_group_photo_largest_first(group):
    assert [face.area for face in group] == sorted((face.area for face in group), reverse=True)
    assert len(group) == 3
    for face, place in zip(group, GROUP_FACES, strict=True):
        assert np.linalg.norm(centre(face) - place) < 25


def test_index_chooses_the_face(group_photo, group):
    assert faces.locate_face(group_photo, face_index=1).box == group[1].box
    with pytest.raises(faces.NoFaceFound, match=r"3 faces were found in picture 4 .*1280 x 886.*no face 7"):
        faces.pick_face(group, group_photo, face_index=7, picture_index=4)
    with pytest.raises(faces.NoFaceFound):
        faces.pick_face(group, group_photo, face_index=-1)


def test_no_face_names_index_and_size():
    with pytest.raises(faces.NoFaceFound, match=r"picture 3 .*400 x 300 pixels.*Try"):
        faces.locate_face(landscape(), picture_index=3)


@pytest.mark.parametrize("shape", [(1, 1, 3), (8, 700, 3), (23, 23, 3), (64, 64, 4)])
def test_odd_pictures_have_no_face_but_no_crash(shape):
    assert faces.detect_faces(torch.full(shape, float("nan"))) == []


def test_photos_without_a_face_have_none():
    for photo in (skimage.data.coffee(), skimage.data.chelsea(), skimage.data.rocket()):
        assert faces.detect_faces(as_image(photo)) == []


@pytest.mark.parametrize("box", [(200, 100, 300, 230), (-20, -30, 60, 80), (350, 250, 420, 320)])
def test_crop_is_a_square_inside_the_picture(box):
    x0, y0, x1, y1 = faces.square_crop(faces.Face(box, 1.0), height=300, width=400)
    assert 0 <= x0 < x1 <= 400 and 0 <= y0 < y1 <= 300
    assert x0 <= max(box[0], 0) and y0 <= max(box[1], 0) and x1 >= min(box[2], 400) and y1 >= min(box[3], 300)
    assert x1 - x0 == y1 - y0 == min(300, round(2 * max(box[2] - box[0], box[3] - box[1])))
    whole = faces.square_crop(faces.Face((0, 0, 400, 300), 1.0), height=300, width=400)
    assert whole == (50, 0, 350, 300)


def test_face_words():
    assert {"face", "person", "man", "woman", "boy", "girl", "child", "baby", "lady"} <= faces.FACE_WORDS
    assert not {"dog", "car", "house", "toy"} & faces.FACE_WORDS
    assert {"person", "man"} <= faces.HUMANS and "face" not in faces.HUMANS  # nobody says "a face of a face"


# ---------------------------------------------------------------- InsightFace, with tiny models


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """Any attempt to reach the network or to write to a home folder fails the test."""
    attempts = []

    def forbidden(*args, **kwargs):
        attempts.append(args)
        raise AssertionError(f"a connection was tried: {args}")

    monkeypatch.setattr(socket.socket, "connect", forbidden)
    monkeypatch.setattr(socket, "getaddrinfo", forbidden)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    yield
    assert not attempts and not (tmp_path / "home").exists()


@pytest.fixture
def insightface_photo():
    pytest.importorskip("insightface")
    image = torch.zeros(640, 640, 3)
    image[160:192, 448:480, 0] = 1
    image[320:352, 192:224, :2] = 1
    image[512:544, 512:544, 2] = 1
    return image


def test_insightface_finds_boxes_and_landmarks(insightface_photo, tmp_path, offline):
    pack = save_pack(tmp_path / "models" / "buffalo_l")
    found = faces.detect_faces(insightface_photo, faces.choose_pack([tmp_path]))
    assert pack == faces.choose_pack([tmp_path])
    assert [np.round(face.box).tolist() for face in found] == [[128, 256, 288, 416], [416, 128, 512, 224]]
    assert all(face.score > 0.9 for face in found)
    expected = head_points() * 160 + centre(found[0])
    assert found[0].landmarks.shape == (106, 2)
    assert np.abs(found[0].landmarks - expected).max() < 2


def test_mask_from_landmarks(insightface_photo, tmp_path, offline):
    save_pack(tmp_path / "models" / "buffalo_l")
    face = faces.locate_face(insightface_photo, faces.choose_pack([tmp_path]))
    mask = faces.face_mask(face, 640, 640)
    jaw, brow = face.landmarks[:, 1].max(), face.landmarks[43:52, 1].min()
    x, face_height = round(centre(face)[0]), jaw - brow
    assert mask[round(jaw) - 3, x] > 0.5, "chin"
    assert mask[round(brow - 0.3 * face_height), x] > 0.95, "forehead and hair, where no landmark lies"
    assert mask[round(brow - face_height), x] < 0.02 and mask[round(jaw + 0.5 * face_height), x] < 0.02
    assert mask[0, 0] == mask[-1, -1] == mask[0, -1] == mask[-1, 0] == 0
    boxed = faces.face_mask(faces.Face(face.box, face.score), 640, 640)
    assert (mask - boxed).abs().max() > 0.5, "the landmarks shape the mask, not the box"


def test_mask_turns_with_the_head():
    turn = np.array([[0, 1], [-1, 0]])  # a head lying on its side, crown to the right
    points = head_points() * 100 @ turn + 200
    face = faces.Face((150, 150, 250, 250), 1.0, points)
    upright = faces.Face(face.box, 1.0, head_points() * 100 + 200)
    mask, expected = faces.face_mask(face, 401, 401), faces.face_mask(upright, 401, 401)
    turned = torch.rot90(expected, -1)
    assert (mask[2:-2, 2:-2] - turned[2:-2, 2:-2]).abs().mean() < 0.01 and mask.sum() > 5000


def test_pack_without_landmarks_gives_an_ellipse(insightface_photo, tmp_path, offline):
    pack = save_pack(tmp_path / "models" / "buffalo_sc", landmarks=False)
    face = faces.locate_face(insightface_photo, pack, face_index=1)
    assert face.landmarks is None
    mask = faces.face_mask(face, 640, 640)
    assert mask[176, 464] > 0.99 and mask[600, 100] == 0


def test_nested_zip_folder_and_preference(insightface_photo, tmp_path, offline):
    (tmp_path / "inswapper_128.onnx").touch()
    (tmp_path / "models" / "buffalo_l").mkdir(parents=True)
    assert faces.find_insightface_pack([tmp_path, tmp_path / "absent"]) is None, "an empty folder is no pack"
    other = save_pack(tmp_path / "models" / "another")
    assert faces.find_insightface_pack([tmp_path]) == other
    nested = save_pack(tmp_path / "models" / "antelopev2" / "antelopev2")
    assert faces.find_insightface_pack([tmp_path]) == nested
    assert len(faces.detect_faces(insightface_photo, nested)) == 2
    best = save_pack(tmp_path / "elsewhere" / "models" / "buffalo_l")
    assert faces.find_insightface_pack([tmp_path, tmp_path / "elsewhere"]) == best


def test_nothing_is_downloaded(insightface_photo, tmp_path, offline):
    assert faces.choose_pack([tmp_path]) is None
    with pytest.raises(FileNotFoundError, match=rf"{tmp_path}.*buffalo_l.*cascade"):
        faces.choose_pack([tmp_path], "insightface")
    for gone in (tmp_path / "buffalo_l", Path("buffalo_l")):
        with pytest.raises(ValueError, match="cannot be read"):
            faces.detect_faces(insightface_photo, gone)


@pytest.mark.parametrize("content", [b"", b"<html>Not Found</html>"])
def test_broken_pack_says_so(insightface_photo, tmp_path, offline, content):
    pack = tmp_path / "models" / "buffalo_l"
    pack.mkdir(parents=True)
    (pack / "det_10g.onnx").write_bytes(content)
    with pytest.raises(ValueError, match=r"buffalo_l cannot be read .*again"):
        faces.detect_faces(insightface_photo, faces.choose_pack([tmp_path]))


def test_without_insightface(tmp_path, monkeypatch, caplog):
    pack = save_pack(tmp_path / "models" / "buffalo_l")
    monkeypatch.setitem(sys.modules, "insightface.app", None)
    with caplog.at_level("WARNING", "persona"):
        assert faces.choose_pack([tmp_path], "auto") is None
    assert str(pack) in caplog.text and "pip install" in caplog.text
    with pytest.raises(ImportError, match=r"pip install .*onnxruntime-gpu"):
        faces.choose_pack([tmp_path], "insightface")
    assert faces.choose_pack([tmp_path], "cascade") is None
