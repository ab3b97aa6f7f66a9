"""Who a face is: on real photos with dlib, through InsightFace's own code with tiny models; and the scores of it."""

import sys
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import torch

from persona_core import score_sheet
from persona_core.faces import Face, KnownFace, NoFaceFound, NoRecogniser, at_hand, choose_recogniser
from persona_core.faces.recognition import Recogniser
from persona_core.likeness import PictureScore, Reference, Scores, make_reference, score, varied
from persona_core.photos import resize
from tools.tiny_insightface import save_pack


def as_image(pixels):
    return torch.from_numpy(np.ascontiguousarray(pixels)).float() / 255


@pytest.fixture(scope="module")
def dlib():
    return choose_recogniser([])


@pytest.fixture(scope="module")
def astronaut():
    return as_image(skimage.data.astronaut())


@pytest.fixture(scope="module")
def strangers(dlib):
    return at_hand.strangers(dlib)


@pytest.fixture(scope="module")
def reference(astronaut, strangers, dlib):
    return make_reference([astronaut], strangers, dlib)


# ---------------------------------------------------------------- dlib, on photos


def test_photos_at_hand_are_eight_people(strangers, dlib):
    assert dlib.name == "dlib" and set(at_hand.photos()) == {"astronaut", "t1", "Tom_Hanks_54745"}
    assert len(strangers) == 8, "six in the group photo"
    assert all(abs(float(face.embedding.norm()) - 1) < 1e-5 and face.embedding.shape == (128,) for face in strangers)


def test_a_face_is_itself_in_every_variant_and_nobody_else(reference, astronaut, strangers, dlib):
    assert len(reference.ceiling) == len(varied(astronaut, dlib.faces(astronaut)[0])) >= 9, "found in each"
    assert len(reference.floor) == len(strangers) - 1, "she is at hand herself, and is no stranger"
    assert min(reference.ceiling) > 0.94 > 0.92 > max(reference.floor)
    assert reference.share(min(reference.floor)) < 0.05 and reference.share(max(reference.ceiling)) > 0.95


@pytest.mark.parametrize("name", ["chelsea", "coffee", "rocket"])
def test_what_is_no_face_is_none(name, dlib):
    assert dlib.faces(as_image(getattr(skimage.data, name)())) == []


def test_a_small_face_and_a_large_picture_are_found_where_they_are(astronaut, dlib):
    def scaled(size):
        return resize(astronaut.permute(2, 0, 1)[None], size, size)[0].permute(1, 2, 0)

    for size in (256, 1600):
        (face,) = dlib.faces(scaled(size))
        middle = (face.box[0] + face.box[2]) / 2, (face.box[1] + face.box[3]) / 2
        assert np.allclose(np.array(middle) * 512 / size, (215, 120), atol=15)


@pytest.mark.parametrize("shape", [(1, 1, 3), (8, 700, 3), (64, 64, 4)])
def test_odd_pictures_have_no_face_but_no_crash(shape, dlib):
    assert dlib.faces(torch.full(shape, float("nan"))) == []


def test_a_batch_is_scored_and_sorted(astronaut, reference, dlib):
    somebody = resize(at_hand.photos()["Tom_Hanks_54745"].permute(2, 0, 1)[None], 512, 512)[0].permute(1, 2, 0)
    cat = resize(as_image(skimage.data.chelsea()).permute(2, 0, 1)[None], 512, 512)[0].permute(1, 2, 0)
    batch = torch.stack([cat, somebody, (astronaut * 0.8)])
    scores = score(batch, reference, dlib)
    assert scores.order == [2, 1, 0] and scores.detect == pytest.approx(2 / 3)
    assert scores.pictures[0].id is None and scores.pictures[2].id > 0.97 > 0.92 > scores.pictures[1].id
    assert scores.id == pytest.approx((scores.pictures[1].id + scores.pictures[2].id) / 2)
    assert scores.id_prompt == pytest.approx((scores.pictures[1].id + scores.pictures[2].id) / 3)
    table = score_sheet.table(scores).splitlines()
    assert [line.split()[0] for line in table[1:-1]] == ["2", "1", "0"] and "67% have one" in table[-1]
    assert "Strangers: 0.8" in score_sheet.meaning_of_id(scores)
    sheet = score_sheet.sheet(batch, scores)
    assert sheet.shape[0] == 3 and sheet.shape[1] > 512 and sheet.shape[2] == 512
    changed = (sheet[0, :512] - batch[2]).abs().amax(-1) > 0.05
    assert 300 < changed.sum() < 10000, "a box and a figure, and no more"
    assert not ((sheet[2, :512] - batch[0]).abs() > 0.01).any(), "no face, no box"


def test_several_references_are_averaged(astronaut, strangers, dlib):
    hanks = at_hand.photos()["Tom_Hanks_54745"]
    both = make_reference([astronaut, hanks], strangers, dlib)
    alone = [make_reference([one], strangers, dlib) for one in (astronaut, hanks)]
    face = dlib.faces(astronaut)[0]
    assert both.likeness(face) == pytest.approx(np.mean([one.likeness(face) for one in alone]), abs=1e-5)
    assert len(both.ceiling) == sum(len(one.ceiling) for one in alone)


def test_a_reference_without_a_face_says_which(astronaut, dlib):
    with pytest.raises(NoFaceFound, match="reference picture 1 .counted from 0.*larger"):
        make_reference([astronaut, as_image(skimage.data.coffee())], (), dlib)


# ---------------------------------------------------------------- scores


def picture(*likenesses, prompt=None):
    return PictureScore(tuple(Face((0, 0, 9, 9), 1.0) for _ in likenesses), likenesses, prompt)


def test_id_prompt_counts_0_for_who_is_not_there_and_what_is_not_shown():
    """SeFi-IDE's ID(Prompt)."""
    scores = Scores(
        (picture(0.5, prompt=0.3), picture(0.9, prompt=0.2), picture(prompt=0.4), picture(0.1, 0.7, prompt=0.23)),
        Reference(torch.eye(2)),
    )
    assert [scores.id_prompt_of(one) for one in scores.pictures] == [0.5, 0.0, 0.0, 0.7]
    assert scores.id == pytest.approx(0.7) and scores.detect == 0.75 and scores.id_prompt == pytest.approx(0.3)
    assert scores.prompt == pytest.approx(0.2825) and scores.order == [3, 0, 1, 2]


def test_nobody_anywhere_is_a_figure():
    scores = Scores((picture(), picture()), Reference(torch.eye(2)))
    assert scores.id is None and scores.detect == 0 and scores.id_prompt == 0 and scores.order == [0, 1]
    assert score_sheet.meaning_of_id(scores) == "No face in any of 2 pictures."
    assert "-" in score_sheet.table(scores)


def test_without_strangers_there_is_no_share():
    assert Reference(torch.eye(2), (0.9,), ()).share(0.5) is None
    assert Reference(torch.eye(2), (0.9,), (0.1,)).share(0.5) == pytest.approx(0.5)


# ---------------------------------------------------------------- InsightFace


def cell(colour, size=320):
    """What the tiny detector takes for a face, in the middle of a grey picture."""
    image = torch.full((size, size, 3), 0.5)
    image[128:160, 128:160] = torch.tensor(colour).float()
    return image


@pytest.mark.parametrize("place", ["models/buffalo_l", "models/antelopev2/antelopev2", "my_pack"])
def test_an_insightface_pack_recognises_wherever_it_lies(tmp_path, place):
    pack = save_pack(tmp_path / place, recognition=True)
    found = choose_recogniser([tmp_path])
    assert found.name == f"InsightFace ({pack.name})"
    red, again, yellow = (found.faces(cell(one))[0].embedding for one in ((1, 0, 0), (1, 0, 0), (1, 1, 0)))
    assert red.shape == (512,) and float(red @ again) == pytest.approx(1, abs=1e-5) and float(red @ yellow) < 0.99


def test_a_pack_that_only_detects_is_passed_over(tmp_path):
    save_pack(tmp_path / "models/buffalo_l")
    save_pack(tmp_path / "models/zoo", recognition=True)
    assert choose_recogniser([tmp_path]).name == "InsightFace (zoo)"


def test_a_damaged_pack_is_named(tmp_path):
    pack = save_pack(tmp_path / "models/buffalo_l", recognition=True)
    (pack / "w600k_r50.onnx").write_bytes(b"half a download")
    with pytest.raises(ValueError, match=r"buffalo_l cannot be read.*take it away"):
        choose_recogniser([tmp_path])


def test_without_insightface_dlib_is_used_and_without_both_a_sentence_says_both_ways(tmp_path, monkeypatch, caplog):
    save_pack(tmp_path / "models/buffalo_l", recognition=True)
    monkeypatch.setitem(sys.modules, "insightface.app", None)
    assert choose_recogniser([tmp_path]).name == "dlib" and "InsightFace cannot be imported" in caplog.text
    from persona_core.faces import dlib

    dlib._models.cache_clear()
    monkeypatch.setitem(sys.modules, "dlib", None)
    with pytest.raises(NoRecogniser, match="pip install dlib-bin.*models/insightface/models/buffalo_l"):
        choose_recogniser([tmp_path])
    dlib._models.cache_clear()


def test_only_free_models_of_the_package_are_read():
    """The 68-point landmarks in it are for no commercial use."""
    source = Path(sys.modules["persona_core.faces.dlib"].__file__).read_text()
    assert "pose_predictor_five_point_model_location" in source and "pose_predictor_model_location" not in source


def test_two_recognisers_of_one_name_are_the_same():
    """So that what strangers look like is asked once."""
    assert Recogniser("dlib", len) == Recogniser("dlib", print) and hash(Recogniser("a", len)) == hash(
        Recogniser("a", id)
    )
    assert isinstance(KnownFace((0, 0, 1, 1), 1.0, embedding=torch.ones(2)), Face)
