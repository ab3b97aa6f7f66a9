"""How like pictures on disk are, on NASA's portrait with dlib."""

import csv
import shutil

import pytest
import skimage.data
from PIL import Image

from persona_core.command import scoring
from persona_core.command.main import main
from persona_core.command.scoring import Judge, Person, prompt_of
from persona_core.faces.recognition import NoRecogniser
from persona_core.provenance import marked_png


@pytest.fixture
def pictures(tmp_path, photo):
    """Of Ann, as persona paint leaves them: she, darker and smaller; no face; no picture. Of Bob none. And her photo."""
    (folder := tmp_path / "out/ann").mkdir(parents=True)
    her = Image.open(photo).resize((256, 256)).point(lambda value: value * 0.8)
    about = '{"key": "k", "prompt": "<ann> in space", "placeholder": "<ann>", "supercategory": "woman"}'
    (folder / "0001.png").write_bytes(marked_png(her, {"painting": about}))
    Image.fromarray(skimage.data.coffee()).save(folder / "0002.png")
    (folder / "0003\u202e.png").write_text("nothing")
    shutil.copy(photo, tmp_path / "ann.png")
    (tmp_path / "people.csv").write_text("id,photo\nann,ann.png\nbob,ann.png\n")
    return folder


def score(*arguments) -> int:
    return main(["score", *map(str, arguments), "--cpu"])


def test_pictures_of_one_person_are_a_table_and_what_it_means(pictures, tmp_path, capsys):
    out = tmp_path / "scores.csv"
    assert score(pictures, "--reference", tmp_path / "ann.png", "--out", out) == 1, "one is no picture"
    told = capsys.readouterr()
    lines = told.out.splitlines()
    assert (
        lines[1].split()[0] == "0001.png" and lines[2].split()[:2] == ["0002.png", "-"] and "50% have one" in lines[3]
    )
    assert "of the way from strangers" in told.out and "Faces told apart by dlib." in told.out
    assert "0003\\u202e.png: " in told.err and "Traceback" not in told.err
    with out.open(newline="") as file:
        her, coffee, bad = csv.DictReader(file)
    assert float(her["id"]) > 0.95 and float(her["of the way"]) > 0.5 and her["faces"] == "1"
    assert (coffee["id"], coffee["faces"], coffee["ID(Prompt)"]) == ("", "0", "0.0000") and "no picture" in bad["error"]


def test_people_of_a_table_are_a_line_each(pictures, tmp_path, capsys):
    assert score(tmp_path / "out", "--reference", tmp_path / "people.csv") == 1
    told = capsys.readouterr()
    assert [line.split()[0] for line in told.out.splitlines()] == [
        "person",
        "ann",
    ] and "bob  There is no picture" in told.err
    assert told.out.splitlines()[1].split()[-2:] == ["50%", "2"]


def test_a_photo_without_a_face_is_a_sentence(pictures, tmp_path, capsys):
    assert score(pictures / "0001.png", "--reference", pictures / "0002.png") == 1
    assert "No face was found in reference picture 0" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["--clip", "clip_l.safetensors"], "both --clip and --clip-vision"),
        (["--text", "a photo"], "both --clip and --clip-vision"),
        (["--clip", "no_such", "--clip-vision", "no_such"], "There is no file 'no_such'"),
    ],
)
def test_what_is_asked_wrongly_is_a_sentence(pictures, capsys, given, says):
    assert score(pictures, "--reference", pictures / "0001.png", *given) == 2
    assert says in capsys.readouterr().err


def test_without_a_recogniser_it_says_how_to_get_one(pictures, tmp_path, capsys, monkeypatch):
    def none(folders):
        raise NoRecogniser("Nothing is installed that tells faces apart.")

    monkeypatch.setattr("persona_core.host.scoring.choose_recogniser", none)
    assert score(pictures, "--reference", tmp_path / "ann.png") == 2
    assert "Nothing is installed" in capsys.readouterr().err


def test_each_picture_is_held_against_its_own_prompt(pictures, tmp_path, monkeypatch):
    """With encoders of random weights: which text is asked for which picture, and that figures stay with theirs."""
    shutil.copy(pictures / "0001.png", pictures / "0004.png")
    assert prompt_of(pictures / "0001.png") == "woman in space" and prompt_of(tmp_path / "ann.png") == ""
    asked, judge = {}, Judge(text="")
    judge.clip = judge.clip_vision = object()

    def answer(images, photos, text, clip, clip_vision):
        asked[text] = len(list(images))
        return scoring.PromptScores((0.1 * len(text),) * asked[text], 0.05)

    monkeypatch.setattr(scoring, "scores_of_prompt", answer)
    about = '{"key": "k", "prompt": "a cat"}'
    (pictures / "0002.png").write_bytes(marked_png(Image.new("RGB", (64, 64)), {"painting": about}))
    judged = judge.judge(Person("ann", [str(tmp_path / "ann.png")], [pictures / f"000{n}.png" for n in (1, 2, 4)]))
    figures = {file.name: one.prompt for file, one in zip(judged.pictures, judged.scored.scores.pictures)}
    assert asked == {"woman in space": 2, "a cat": 1}
    assert figures == pytest.approx({"0001.png": 1.4, "0004.png": 1.4, "0002.png": 0.5})
