"""`make bench-paper` on a random checkpoint and two cuts of one photo: it runs whole, and what it writes holds together."""

import json
import os
import re
import subprocess
import sys
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from skimage import data, io

from bench import quality
from bench.paper import page, results
from bench.paper.__main__ import main
from bench.paper.made_up import MadeUpWorld
from bench.paper.measure import Bench
from bench.paper.prompts import KINDS, PROMPTS, some
from bench.paper.rows import AS_MANY, FULL, PLAIN, chosen, rows
from bench.results import Result
from persona_core.host.learn.unfinished import load_progress
from tools import random_checkpoint
from tools.random_checkpoint import TextEncoder, add_text_encoder
from tools.random_weights import StateDict

PACK = Path(__file__).resolve().parents[2]
QUICKEST = {"steps": 1, "resolution": 64, "prompts": 1, "seeds": 1, "sampling-steps": 1, "sampler": "usual"}
TINY = [part for name, value in QUICKEST.items() for part in (f"--{name}", str(value))]


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """A random checkpoint, and photos: of a, of b (two), and of a cup of coffee."""
    folder = tmp_path_factory.mktemp("paper")
    photos = folder / "photos"
    (photos / "bea").mkdir(parents=True)
    face, cup = data.astronaut(), data.coffee()
    cuts = {"ann.png": face[:300, 100:400], "bea/1.png": face[:256, 96:352], "bea/2.png": face[:280, 60:380]}
    for name, picture in {**cuts, "cup.png": cup[:200, :200]}.items():
        io.imsave(photos / name, picture, check_contrast=False)
    checkpoint = random_checkpoint.build(folder / "random.ckpt")
    return {"CHECKPOINT": str(checkpoint), "PHOTOS": str(photos)}


@pytest.fixture(scope="module")
def ran(environment, tmp_path_factory):
    """The folder of a run, and what it said."""
    out = tmp_path_factory.mktemp("out")
    command = [sys.executable, "-m", "bench.paper", *TINY, "--rows", PLAIN, AS_MANY, "--out", str(out)]
    done = subprocess.run(
        command, cwd=PACK, env={**os.environ, **environment}, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return out, done.stdout


def parts(out: Path) -> dict[Path, int]:
    """The files of single results, and when they were written."""
    return {file: file.stat().st_mtime_ns for file in out.glob("parts/*/*")}


def test_a_run_writes_a_page_and_a_table_to_send(ran, environment):
    out, said = ran
    assert "cup.png: no face is found, so it is left out." in said
    found = json.loads((out / "results.json").read_text())
    assert Counter((one["row"], one["person"]) for one in found["results"]) == {
        (row, person): 1 for row in (PLAIN, AS_MANY, FULL) for person in (0, 1)
    }
    for one in found["results"]:
        learning, means = one["learning"], one["means"]["all"]
        assert (learning is None) == (one["row"] == PLAIN)
        assert means["prompt"] is means["id_prompt"] is None and 0 <= means["detect"] <= 1
        if learning:
            assert learning["passes"] == 4  # one step of auto is of four pictures, so Textual Inversion has two of two
            assert (
                learning["learned numbers"] == learning["stored numbers"] == (768 if one["row"] == AS_MANY else 1278664)
            )
            assert all(learning[name] > 0 for name in ("file", "seconds", "peak memory"))
            assert one["row"] == AS_MANY or (learning["SNR"] > 0 and learning["TE ratio"] > 0)
    assert all(one["floor"] < one["ceiling"] for one in found["people"])
    written = (out / "page.md").read_text()
    assert page.page(found) == written
    header = next(line for line in written.splitlines() if line.startswith("|  | Prompt"))
    assert header == "|  | Prompt | ID | Detect | ID(Prompt) | difference | people |"
    assert "Prompt and ID(Prompt) are empty" in written and "Rows with PhotoMaker are left out" in written
    assert not any("|" in line and "nan" in line for line in written.splitlines())
    everything = written + (out / "results.json").read_text()
    for private in (
        environment["PHOTOS"],
        environment["CHECKPOINT"],
        str(out),
        str(PACK),
        "ann.png",
        "bea",
        "random.ckpt",
    ):
        assert private not in everything, private
    assert {file.suffix for file in out.rglob("*.*") if file.is_file()} == {".json", ".md"}


def test_a_second_run_measures_what_is_missing_alone(ran, environment, monkeypatch):
    out, _ = ran
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    before, first = parts(out), json.loads((out / "results.json").read_text())
    lost = next(file for file in before if file.name.startswith(f"{PLAIN}-001"))
    lost.unlink()
    main([*TINY, "--rows", PLAIN, AS_MANY, "--out", str(out)])
    assert {file for file, when in parts(out).items() if when != before[file]} == {lost}
    assert json.loads((out / "results.json").read_text())["results"] == first["results"]


def halves_of_a_clip(folder: Path) -> list[str]:
    """CLIP-L with its projection, of random weights that share their memory."""
    text, image, width = StateDict(0), StateDict(1), 1024
    add_text_encoder(text, TextEncoder("text_model", 768, 12))
    text["text_projection.weight"] = text.noise(768, 768, std=768**-0.5)
    embeddings = "vision_model.embeddings"
    image[f"{embeddings}.class_embedding"] = image.noise(1, width, std=0.02)[0].clone()
    image[f"{embeddings}.patch_embedding.weight"] = image.noise(width, 3, 14, 14, std=0.02)
    image[f"{embeddings}.position_embedding.weight"] = image.noise(257, width, std=0.02)
    for layer in (f"vision_model.encoder.layers.{index}" for index in range(24)):
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            image.weight(f"{layer}.self_attn.{name}", width, width)
        image.weight(f"{layer}.mlp.fc1", 4 * width, width)
        image.weight(f"{layer}.mlp.fc2", width, 4 * width)
        for name in ("layer_norm1", "layer_norm2"):
            image.norm(f"{layer}.{name}", width)
    for name in ("pre_layrnorm", "post_layernorm"):
        image.norm(f"vision_model.{name}", width)
    image["visual_projection.weight"] = image.noise(768, width, std=width**-0.5)
    for name, weights in {"text": text, "image": image}.items():
        torch.save(dict(weights), folder / f"{name}.ckpt")
    return ["--clip", str(folder / "text.ckpt"), "--clip-vision", str(folder / "image.ckpt")]


def test_with_both_halves_of_a_clip_the_prompt_is_scored(environment, monkeypatch, tmp_path):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    halves = halves_of_a_clip(tmp_path)
    main([*TINY, "--people", "1", "--rows", PLAIN, "--with-photos", "--out", str(tmp_path / "out"), *halves])
    (one,) = json.loads((tmp_path / "out/results.json").read_text())["results"]
    assert -1 <= one["means"]["all"]["prompt"] <= 1 and one["means"]["all"]["id_prompt"] is not None
    written = (tmp_path / "out/page.md").read_text()
    assert "mean nothing here" in written  # to random halves a photo is not like its description
    (shown,) = re.findall(r"!\[.*\]\((sheets/.*\.jpg)\)", written)
    assert io.imread(tmp_path / "out" / shown).shape == (66, 132, 3)  # the photo and one picture


@pytest.mark.parametrize(
    "given, arguments, sentence",
    [
        ({}, [], "CHECKPOINT is not given"),
        ({"CHECKPOINT": "/nowhere/x.safetensors"}, [], "there is no such file"),
        ({"CHECKPOINT": __file__, "PHOTOS": str(PACK)}, [], "test_paper.py cannot be used"),
        ({}, ["--world", "--rows", "nonsense"], "There is no row nonsense"),
    ],
)
def test_what_is_missing_is_said_in_a_sentence(given, arguments, sentence, monkeypatch, capsys):
    for name in ("CHECKPOINT", "PHOTOS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2 and sentence in capsys.readouterr().err


def test_the_made_up_world_gives_the_figures_of_bench_quality(tmp_path):
    theirs = quality.Bench(tmp_path / "quality", "table", (4,))
    theirs.folder.mkdir()
    quality.work(theirs, "plain", 0)
    names = {"textual_inversion": "textual_inversion", "published": "full"}
    for name in names.values():
        quality.learn_and_judge(theirs, name, 0)
    world = MadeUpWorld(1)
    everything = rows(world.supercategory, world.resolution, steps=2)
    ours = Bench(world, chosen((PLAIN, *names), everything), tmp_path / "paper", seeds=1)
    ours.measure(0)
    for row in (PLAIN, *names):
        result = Result(**json.loads(theirs.file(row if row == PLAIN else f"{names[row]}_4", 0).read_text()))
        found = results.summary(json.loads(ours.file(row, 0, "usual").read_text()))
        means, learning = found["means"]["all"], found["learning"]
        assert means["id"] == pytest.approx(result.likeness, abs=1e-5), row
        assert means["prompt"] == pytest.approx(result.obeyed, abs=1e-5), row
        assert means["id_prompt"] == pytest.approx(result.identity_if_obeyed, abs=1e-5), row
        if learning:
            assert learning["passes"] == result.passes
            assert learning["file"] == pytest.approx(result.size, abs=64), "but for what the runs are called"


class Stopped(Exception):
    pass


def test_learning_that_was_stopped_goes_on_where_it_was(tmp_path):
    world = MadeUpWorld(1)
    world.prompts = some(world.prompts, 2)
    row = {"quick": rows(world.supercategory, world.resolution, steps=4)["quick"]}

    def stop_at_half(done):
        stop_at_half.done += done
        if stop_at_half.done >= 0.5:
            raise Stopped

    stop_at_half.done = 0.0
    stopped, whole = (Bench(world, row, tmp_path / name, seeds=1) for name in ("stopped", "whole"))
    with pytest.raises(Stopped):
        replace(stopped, told=stop_at_half).measure(0)
    assert load_progress(stopped.unfinished("quick", 0), "quick").step == 2
    told = []
    replace(stopped, told=told.append).measure(0)
    whole.measure(0)
    one, other = (json.loads(bench.file("quick", 0, "usual").read_text()) for bench in (stopped, whole))
    assert one["pictures"] == other["pictures"] and sum(told) == pytest.approx(2)
    assert not list(tmp_path.rglob("*.partial"))


def test_the_rows_differ_in_what_they_say_and_prompts_are_of_every_kind():
    found = rows("person", 512, beside=["ip_adapter"])
    full, kv = found[FULL].recipe, found["kv_5"].recipe
    changed = {
        name: {key for key, value in asdict(row.recipe).items() if asdict(base).get(key) != value}
        for base, names in (
            (full, "quick published n1 n2 no_stages no_te no_bypass no_mask"),
            (kv, "kv_1 kv_10 kv_off"),
        )
        for name, row in found.items()
        if name in names.split()
    }
    assert changed == {
        "quick": {"learning"}, "published": {"learning"}, "n1": {"tokens"}, "n2": {"tokens"}, "no_stages": {"stages"},
        "no_te": {"te_weight"}, "no_bypass": set(), "no_mask": set(), "kv_1": {"pairs"}, "kv_10": {"pairs"},
        "kv_off": {"attention_weight"},
    }  # fmt: skip
    assert not found["no_mask"].masked and type(found["no_bypass"].recipe) is not type(full)
    assert found["auto_ip_adapter"].learned_as == FULL and found["kv_context"].applied == {"context_preservation": 0.5}
    kinds = Counter(prompt.kind for prompt in PROMPTS)
    assert set(kinds) == set(KINDS) and len({prompt.text for prompt in PROMPTS}) == len(PROMPTS) >= 40
    assert all(re.search(r"(^| )\{\}( |$)", prompt.text) for prompt in PROMPTS)
    assert set(Counter(prompt.kind for prompt in some(PROMPTS, 8))) == set(KINDS)
