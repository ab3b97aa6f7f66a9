"""Persona Score and Pick Best in a real server, on a real photo, with dlib."""

import json
import shutil

import numpy as np
import pytest
import skimage.data
from gallery import put_persona
from PIL import Image
from prompts import pictures
from safetensors import safe_open


@pytest.fixture(scope="module")
def photos(server, tmp_path_factory):
    """In the input folder: the astronaut at 256 pixels, darker, and a cup of coffee."""
    folder = tmp_path_factory.mktemp("photos")
    astronaut = Image.fromarray(skimage.data.astronaut()).resize((256, 256))
    shown = {
        "her": astronaut,
        "darker": astronaut.point(lambda value: value * 0.7),
        "coffee": Image.fromarray(skimage.data.coffee()).resize((256, 256)),
    }
    for name, picture in shown.items():
        picture.save(folder / f"{name}.png")
        server.upload_image(folder / f"{name}.png", f"{name}.png")
    return shown


def scoring(painted: list[str], more: dict | None = None) -> dict:
    """A prompt that scores a batch of pictures against a photo of her."""
    prompt = {name: {"class_type": "LoadImage", "inputs": {"image": f"{name}.png"}} for name in {*painted, "her"}}
    batch = [painted[0], 0]
    for number, name in enumerate(painted[1:]):
        prompt[f"batch {number}"] = {"class_type": "ImageBatch", "inputs": {"image1": batch, "image2": [name, 0]}}
        batch = [f"batch {number}", 0]
    score = {"class_type": "PersonaScore", "inputs": {"image": batch, "reference": ["her", 0], **(more or {})}}
    return {**prompt, "score": score}


def saved(prompt: dict, source: list) -> dict:
    return {**prompt, "save": {"class_type": "SaveImage", "inputs": {"images": source, "filename_prefix": "best"}}}


def test_the_best_comes_first_and_the_table_says_what_figures_mean(server, photos):
    run = server.run(saved(scoring(["coffee", "darker", "coffee"]), ["score", 0]))
    assert run.status == "success", run.error
    first, *others = pictures(server, run, "save")
    assert np.abs(first.astype(int) - np.asarray(photos["darker"])).max() <= 1
    assert all(np.abs(one.astype(int) - np.asarray(photos["coffee"])).max() <= 1 for one in others)
    table = run.outputs["score"]["text"][0]
    lines = table.splitlines()
    assert [line.split()[0] for line in lines[1:4]] == ["1", "0", "2"] and "33% have one" in lines[4]
    assert "Strangers: 0.8" in table and "of the way from strangers" in table and "Faces told apart by dlib." in table
    assert run.outputs["score"]["persona_notice"][0].startswith("id 0.9")
    assert len(pictures(server, run, "score")) == 3, "the preview: a picture each, with its figures"


def test_pick_best_keeps_pictures_and_their_latents(server, photos):
    prompt = scoring(["coffee", "her"]) | {
        "best": {"class_type": "PersonaPickBest", "inputs": {"scores": ["score", 2], "count": 1}},
    }
    run = server.run(saved(prompt, ["best", 0]))
    (kept,) = pictures(server, run, "save")
    assert run.status == "success" and np.abs(kept.astype(int) - np.asarray(photos["her"])).max() <= 1
    latents = {"class_type": "EmptyLatentImage", "inputs": {"width": 64, "height": 64, "batch_size": 3}}
    prompt["latents"], prompt["best"]["inputs"]["latent"] = latents, ["latents", 0]
    failed = server.run(saved(prompt, ["best", 0]))
    assert "3 latents but 2 scored pictures" in failed.error


def test_latents_that_were_not_given_are_missed_in_words(server, photos):
    prompt = scoring(["her"]) | {
        "best": {"class_type": "PersonaPickBest", "inputs": {"scores": ["score", 2], "count": 5}},
        "save": {"class_type": "SaveLatent", "inputs": {"samples": ["best", 1], "filename_prefix": "best"}},
    }
    said = []
    server.run(prompt, lambda kind, data: said.append(data.get("exception_message", "")))
    assert any("wire the batch's latents into its latent input" in one for one in said)


def test_nobody_in_the_pictures_is_a_figure_and_in_the_photo_a_sentence(server, photos):
    run = server.run(scoring(["coffee"]))
    assert run.status == "success" and run.outputs["score"]["persona_notice"] == ["No face in any of 1 picture."]
    prompt = scoring(["her"])
    prompt["score"]["inputs"]["reference"] = ["cup", 0]
    prompt["cup"] = {"class_type": "LoadImage", "inputs": {"image": "coffee.png"}}
    assert "No face was found in reference picture 0" in server.run(prompt).error


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ({"text": "a photo of her"}, "both clip and clip_vision are needed"),
        ({"keep_score": True}, "no persona is wired in"),
    ],
)
def test_what_is_missing_is_said(server, photos, more, sentence):
    assert sentence in server.run(scoring(["her"], more)).error


def test_a_score_is_kept_in_the_personas_file_where_asked(server, photos):
    folder = server.base / "models/personas/scored"
    file = put_persona(folder / "source.safetensors")
    run = server.run({
        "load": {"class_type": "PersonaLoad", "inputs": {"persona_name": "scored/source.safetensors"}},
        "save": {"class_type": "PersonaSave", "inputs": {"persona": ["load", 0], "name": "scored/ann"}},
    })  # fmt: skip
    assert run.status == "success", run.error
    file = folder / "ann.safetensors"
    before = contents(file)
    load = {"class_type": "PersonaLoad", "inputs": {"persona_name": "scored/ann.safetensors"}}
    asked = scoring(["darker", "coffee"], {"persona": ["load", 0]}) | {"load": load}
    assert server.run(asked).status == "success" and contents(file) == before, "not asked, not kept"
    asked["score"]["inputs"]["keep_score"] = True
    asked["info"] = {"class_type": "PersonaInfo", "inputs": {"persona": ["load", 0]}}
    assert server.run(asked).status == "success"
    tensors, settings = contents(file)
    assert tensors == before[0] and before[1].items() < settings.items(), "nothing else is changed"
    assert settings["score"] > 0.9 and settings["ID(Prompt)"] == pytest.approx(settings["score"] / 2, abs=0.001)
    again = server.run(asked)
    assert f"score: {settings['score']}" in again.outputs["info"]["text"][0]
    shutil.rmtree(folder)


def contents(file) -> tuple[dict, dict]:
    with safe_open(file, "pt") as opened:
        tensors = {name: opened.get_tensor(name).tolist() for name in opened.keys()}  # noqa: SIM118
        return tensors, json.loads(opened.metadata()["settings"])
