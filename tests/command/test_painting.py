"""Personas and prompts to pictures and contact sheets, in this process, with tiny models."""

import json
import shutil
import subprocess
from dataclasses import replace

import certificates
import numpy as np
import pytest
import tiny_models
import torch
from PIL import Image
from prompts import FIRST_RELEASE

from persona_core import content_credentials, provenance
from persona_core.command.outcomes import DiskFull
from persona_core.command.painting import PAINTED, Asked, Painter
from persona_core.command.persona_files import files_in
from persona_core.command.prompts import prompt_for, read_prompts
from persona_core.command.results import FAILED, THERE
from persona_core.command.stopping import Stopped
from persona_core.files import LONGEST
from persona_core.host.apply.pictures import ALIKE_IN_BATCHES, KSampler, Sampling, encode, paint, usual_sampling
from persona_core.host.learn.jobs import Models
from persona_core.provenance_report import describe

SAMPLING = Sampling(steps=2, width=64, height=64)
PROMPTS = "a photo of <ann>", "{} in the snow"


@pytest.fixture(scope="module")
def models():
    with torch.inference_mode():
        return Models(tiny_models.model(), tiny_models.clip(), tiny_models.vae())


@pytest.fixture
def painter(models, tmp_path):
    """Of two prompts and two seeds, or of what is said."""

    def make(**asked):
        usual = Asked(PROMPTS, range(1, 3), SAMPLING, {}, 4, False, "tiny.ckpt")
        return Painter(models, replace(usual, **asked), tmp_path / "out")

    return make


@pytest.fixture
def put(models, tmp_path):
    """Writes the file of a persona."""

    def save(name: str, seed: int = 0):
        return tiny_models.persona(models.clip, name, seed=seed).save(tmp_path / f"{name}.safetensors")

    return save


def files(folder) -> dict:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def alike(one, other) -> bool:
    pixels = [np.asarray(Image.open(file)).astype(int) for file in (one, other)]
    return abs(pixels[0] - pixels[1]).max() <= 1


def test_what_is_painted_is_left_alone_and_what_is_new_is_added(painter, put, tmp_path):
    people, out = [put("ann"), put("bob", 1)], tmp_path / "out"
    [ann, bob] = painter().paint(people)
    assert (ann.status, ann.count, ann.detail) == (PAINTED, 4, "4 pictures") and bob.seconds > 0
    first = files(out)
    assert sorted(first) == [
        *(
            f"{who}{end}"
            for who in ("ann", "bob")
            for end in (".png", "/0001.png", "/0002.png", "/0003.png", "/0004.png")
        )
    ]
    assert first["ann/0001.png"] != first["bob/0001.png"] != first["bob/0002.png"]
    assert [one.status for one in painter().paint(people)] == [THERE, THERE] and files(out) == first
    [more] = painter(prompts=(*PROMPTS, "<ann> laughing"), seeds=range(1, 4)).paint(people[:1])
    now = files(out)
    assert more.count == 5 and now["ann.png"] != first["ann.png"]
    assert all(now[name] == content for name, content in first.items() if name != "ann.png")
    (out / "ann/0002.png").unlink()
    [again] = painter().paint(people[:1])
    (out / "ann/0002.png").write_bytes(first["ann/0002.png"])
    assert again.count == 1 and alike(out / "ann/0010.png", out / "ann/0002.png"), "to rounding: in another batch"


def test_each_picture_is_that_of_its_seed_whatever_is_beside_it(painter, put, tmp_path):
    list(painter().paint([put("ann")]))
    (tmp_path / "out/ann").rename(tmp_path / "together")
    list(painter(at_once=1).paint([tmp_path / "ann.safetensors"]))
    first, second = tmp_path / "out/ann/0001.png", tmp_path / "out/ann/0002.png"
    assert not alike(first, second)
    assert all(alike(file, tmp_path / "together" / file.name) for file in (first, second))


def test_a_sampler_that_adds_noise_paints_a_seed_alike_too(painter, put, tmp_path):
    """Also after a kill, which leaves other pictures to be painted together."""
    noisy = replace(SAMPLING, sampler="euler_ancestral", steps=3)
    list(painter(sampling=noisy).paint([put("ann")]))
    (tmp_path / "out/ann/0002.png").rename(tmp_path / "together.png")
    list(painter(sampling=noisy).paint([tmp_path / "ann.safetensors"]))
    assert alike(tmp_path / "together.png", tmp_path / "out/ann/0005.png")


@pytest.mark.parametrize("sampler", sorted(ALIKE_IN_BATCHES & set(KSampler.SAMPLERS)))
@torch.inference_mode()
def test_such_samplers_paint_a_seed_alike_whatever_is_beside_it(models, sampler):
    text = encode(models.clip, "a photo")
    usual = models.model, models.vae, text, text
    sampling = replace(SAMPLING, sampler=sampler, steps=4)
    together, alone = (paint(*usual, seeds, sampling)[-1] for seeds in ([1, 2], [2]))
    assert torch.allclose(together, alone, atol=1 / 255)


def test_pictures_are_marked_as_generated_and_say_what_they_were_painted_from(painter, put, tmp_path):
    list(painter(sliders={"strength": 0.5}).paint([put("bob")]))
    told = provenance.read((tmp_path / "out/bob/0003.png").read_bytes())
    said = json.loads(told.texts["painting"])
    assert told.generated and (said["prompt"], said["seed"], said["steps"]) == ("<bob> in the snow", 1, 2)
    [who] = json.loads(told.texts["personas"])
    assert who == {"persona": "bob", "placeholder": "<bob>", "strength": 0.5}
    assert "bob" in describe(told, None, [who], None)
    sheet = tmp_path / "out/bob.png"
    assert provenance.read(sheet.read_bytes()).generated and Image.open(sheet).height > 2 * 256
    assert str(tmp_path).encode() not in b"".join(files(tmp_path / "out").values())


def test_signed_pictures_say_that_a_likeness_was_used_and_are_found_again(painter, put, tmp_path, monkeypatch):
    pytest.importorskip("c2pa")
    for name, value in certificates.make(tmp_path).env().items():
        monkeypatch.setenv(name, value)
    assert [one.count for one in painter().paint([put("ann")])] == [4]
    for file in (tmp_path / "out/ann/0001.png", tmp_path / "out/ann.png"):
        record = content_credentials.check(file.read_bytes(), "image/png")
        assert record and record.likeness
    assert [one.status for one in painter().paint([tmp_path / "ann.safetensors"])] == [THERE]


def test_whoever_cannot_be_painted_is_a_sentence_and_no_end(painter, put, tmp_path):
    (bad := tmp_path / "bad.safetensors").write_text("nothing")
    (twin := tmp_path / "more/ANN.safetensors").parent.mkdir()
    shutil.copy(put("ann"), twin)
    (tmp_path / "out").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "out/cat.png")
    other = FIRST_RELEASE / "stage_mapper.safetensors"
    above = shutil.copy(put("ann"), tmp_path / "...safetensors")
    asked = [bad, tmp_path / "gone.safetensors", other, put("cat"), tmp_path / "ann.safetensors", twin, put("bob")]
    results = list(painter().paint([*asked, above]))
    assert [one.status for one in results] == [FAILED] * 4 + [PAINTED, FAILED, PAINTED, FAILED]
    said = [one.error for one in results]
    assert "no readable" in said[0] and "no file" in said[1] and "was learned for" in said[2]
    assert "no contact sheet" in said[3] and "same name" in said[5]
    assert "begins with a dot" in said[7] and not list(tmp_path.glob("*.png"))


@pytest.mark.parametrize("family", tiny_models.FLOWS)
def test_flows_are_painted_as_the_templates_do(family, tmp_path):
    with torch.inference_mode():
        vae = tiny_models.vae()
        models = Models(
            {"z_image": tiny_models.z_image, "anima": tiny_models.anima}[family](), tiny_models.clip(family), vae
        )
    usual = usual_sampling(models.model)
    assert (usual.steps, usual.scheduler, usual.width) == ({"z_image": 8, "anima": 30}[family], "simple", 1024)
    file = tiny_models.persona(models.clip, "ann").save(tmp_path / "ann.safetensors")
    asked = Asked(PROMPTS, range(2), replace(usual, steps=2, width=64, height=64), {}, 4, False, "tiny")
    [result] = Painter(models, asked, tmp_path / "out").paint([file])
    assert (result.status, result.count, result.error) == (PAINTED, 4, "")


def test_without_consent_nobody_is_painted_where_it_is_asked(painter, put, tmp_path, monkeypatch):
    monkeypatch.setenv("COMFYUI_PERSONA_CONSENT", "required")
    [result] = painter().paint([put("ann")])
    assert "asks for one" in result.error and not list((tmp_path / "out").rglob("*.png"))


def test_it_goes_on_where_it_was_stopped(painter, put, tmp_path):
    ann, out, steps = put("ann"), tmp_path / "out", []

    def stop():
        if len(steps) == 3:
            raise Stopped(2)

    with pytest.raises(Stopped):
        list(painter(at_once=1).paint([ann], lambda name, said: steps.append(said), stop))
    assert steps[-1] == "picture 2/4  step 1/2"
    first = files(out)
    assert list(first) == ["ann/0001.png"]
    assert [one.count for one in painter().paint([ann])] == [3] and files(out)["ann/0001.png"] == first["ann/0001.png"]


def test_who_is_painted_elsewhere_waits_and_is_found(painter, put, tmp_path, monkeypatch):
    from persona_core.command import painting

    ann, bob = put("ann"), put("bob", 1)
    monkeypatch.setattr(painting, "PAUSE", 0.0)
    held = painting.Claim(tmp_path / "out/.ann.painting")
    (tmp_path / "out").mkdir()
    assert held.take()
    asked = iter(range(100))

    def check_stop():
        if (tmp_path / "out/bob.png").exists() and next(asked) == 3:
            held.give_back()

    assert [one.id for one in painter().paint([ann, bob], check_stop=check_stop)] == ["bob", "ann"]


def test_a_full_disk_ends_the_run_with_a_sentence_and_nothing_torn(painter, put, tmp_path):
    (out := tmp_path / "out").mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=100k", "tmpfs", out], capture_output=True).returncode:
        pytest.skip("mounting a tiny file system needs root")
    try:
        results = []
        with pytest.raises(DiskFull, match="disk is full"):
            for one in painter().paint([put(f"p{number}", number) for number in range(9)]):
                results.append(one)
        assert results[-1].status == FAILED and len(results) < 9
        for file in out.rglob("*.png"):
            Image.open(file).load()
    finally:
        subprocess.run(["umount", out], check=True)


def test_prompts_are_lines_with_a_place_for_the_persona(tmp_path):
    file = tmp_path / "prompts.txt"
    file.write_text("\ufeffa photo of <ann>\r\n\n# <ann>\n  {} and {}\na photo of {}\n", "utf-8")
    assert read_prompts(str(file)) == ["a photo of <ann>", "<ann> and <ann>"]
    assert prompt_for("{} and <ann>", "<bob>") == "<bob> and <bob>" and prompt_for("<ann>", "<{}>") == "<{}>"
    for text, says in (
        ("<ann>\na cat", "Line 2 .*no place for the persona"),
        ("# none", "holds no prompt"),
        (f"<ann>\n<ann> {'a' * LONGEST}", "Line 2 .*Use at most 10000"),
    ):
        file.write_text(text)
        with pytest.raises(ValueError, match=says):
            read_prompts(str(file))


def test_the_longest_prompts_are_found_again(painter, put):
    asked = {"prompts": ["<ann> " + "\U0001f600" * (LONGEST - 6)], "seeds": [1]}
    paint = painter(sampling=replace(SAMPLING, negative="\U0001f600" * LONGEST), **asked).paint
    file = put("ann")
    assert [one.status for one in (*paint([file]), *paint([file]))] == [PAINTED, THERE]


def test_folders_and_patterns_are_the_personas_in_them(put, tmp_path):
    ann, bob = put("ann"), put("bob")
    (tmp_path / ".hidden.safetensors").touch()
    assert files_in([str(tmp_path)]) == files_in([f"{tmp_path}/*.safetensors"]) == [ann, bob]
    assert files_in([str(tmp_path / "gone.safetensors")]) == [tmp_path / "gone.safetensors"]
    (tmp_path / "ann.0123abcd.safetensors").touch()
    assert files_in([str(tmp_path)]) == [ann, bob], "without what made room for another of its name"
    odd = put("[2024] people/[ann]")
    assert files_in([str(odd.parent)]) == files_in([str(odd)]) == [odd]
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no persona in the folder"):
        files_in([str(tmp_path / "empty")])


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"sampler": "eulr"}, "no sampler 'eulr'"),
        ({"width": 100}, "multiple of 8"),
        ({"steps": 0}, "Use 1 to"),
        ({"cfg": float("nan")}, "from 0 to 100"),
    ],
)
def test_sampling_is_checked_before_anything_is_painted(wrong, says):
    with pytest.raises(ValueError, match=says):
        replace(SAMPLING, **wrong).check()
