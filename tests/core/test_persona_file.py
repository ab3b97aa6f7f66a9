"""The persona's file: whole, small, safe, and honest about what it is not."""

import json
import os
import signal
from dataclasses import replace

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from persona_core.described import described
from persona_core.files import PersonaFileError, write_whole
from persona_core.mapper import StageMapper
from persona_core.persona import Persona, placeholder_of, thinned
from persona_core.stages import Stages


@pytest.fixture
def ann():
    mapper = StageMapper(
        torch.randn(768, generator=torch.Generator().manual_seed(0)), Stages(310, 720), 4, torch.rand(1, 1024)
    )
    torch.nn.init.normal_(mapper.head.weight, std=0.01, generator=torch.Generator().manual_seed(1))
    losses = {"noise": [0.5 - 1e-4 * i for i in range(1000)], "equilibrium": [-2.5e-4] * 1000}
    return Persona("ann", mapper, "SD1.x (clip_l, 768 wide)", "face", {"steps": 1000, "seed": 3}, losses, "abc")


def test_what_is_saved_is_read_back(ann, tmp_path):
    read = Persona.load(ann.save(tmp_path / "sub" / "ann.safetensors"))
    assert (read.name, read.family, read.supercategory, read.fingerprint) == ("ann", ann.family, "face", "abc")
    assert read.settings == {"steps": 1000, "seed": 3} and read.representation.stages == Stages(310, 720)
    assert read.losses["noise"] == pytest.approx(ann.losses["noise"][::2], rel=1e-3)
    t = torch.tensor([310.0, 500.0])
    torch.testing.assert_close(read.representation.at(t).keys, ann.representation.at(t).keys, atol=2e-3, rtol=2e-3)
    again = Persona.load(read.save(tmp_path / "again.safetensors")).representation.state_dict()
    assert all(torch.equal(again[name], value) for name, value in read.representation.state_dict().items())


@pytest.mark.parametrize(("kept", "read"), [("<zoe>", "<zoe>"), (None, "<ann>")])
def test_its_placeholder_is_in_the_file_and_of_its_name_before(ann, tmp_path, kept, read):
    path = (replace(ann, placeholder=kept) if kept else ann).save(tmp_path / "ann.safetensors")
    if not kept:  # as files of before
        with safe_open(path, "pt") as file:
            metadata = file.metadata()
        assert metadata.pop("placeholder") == "<ann>"
        save_file(load_file(path), path, metadata)
    assert Persona.load(path).placeholder == read


@pytest.mark.parametrize(
    ("name", "placeholder"),
    [("Anna Maria", "<anna_maria>"), ("安娜", "<安娜>"), ("ann.2-old", "<ann_2_old>"), ("123", "<persona_123>"), ("--", "<persona>"), ("मीरा", "<मीरा>"), ("Rene\u0301", "<rené>")],
)  # fmt: skip
def test_the_placeholder_of_a_name_is_one_word(name, placeholder):
    assert placeholder_of(name) == placeholder


def test_the_file_is_small_and_holds_no_picture_nor_its_embedding(ann, tmp_path):
    path = ann.save(tmp_path / "ann.safetensors")
    assert path.stat().st_size <= 3_000_000
    with safe_open(path, "pt") as file:
        shapes = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118
        assert set(file.metadata()) >= {
            "format",
            "kind",
            "family",
            "supercategory",
            "tokens",
            "stages",
            "settings",
            "losses",
            "fingerprint",
        }
    assert "image_embeddings" not in shapes and not any(1024 in shape for shape in shapes.values() if len(shape) == 1)


def test_a_truncated_file_is_refused_with_its_name(ann, tmp_path):
    path = ann.save(tmp_path / "ann.safetensors")
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(PersonaFileError, match=r"ann\.safetensors.*no readable"):
        Persona.load(path)


def test_a_foreign_safetensors_file_is_refused(tmp_path):
    path = tmp_path / "lora.safetensors"
    save_file({"lora_up": torch.ones(2)}, path)
    with pytest.raises(PersonaFileError, match="it is no persona"):
        Persona.load(path)


@pytest.mark.parametrize("broken", [{"format": "persona/99"}, {"kind": "hologram"}])
def test_a_file_of_a_later_version_says_so(ann, tmp_path, broken):
    with pytest.raises(PersonaFileError, match="this version reads persona/1"):
        Persona.load(rewritten(ann, tmp_path, broken))


@pytest.mark.parametrize(
    "broken",
    [
        {"stages": json.dumps([800, 400])},
        {"tokens": "3"},
        {"stages": "nonsense"},
        {"widths": "[768, 1280]"},
        {"settings": "null"},
        {"settings": "[1]"},
        {"losses": "null"},
        {"losses": '{"noise": []}'},
        {"losses": '{"noise": null}'},
        {"losses": '{"noise": [NaN, 1.0]}'},
        {"losses": '{"noise": ["1"]}'},
        {"losses": '{"noise": [1' + "0" * 400 + "]}"},
    ],
)
def test_a_damaged_file_is_refused(ann, tmp_path, broken):
    with pytest.raises(PersonaFileError, match="damaged"):
        Persona.load(rewritten(ann, tmp_path, broken))


def rewritten(ann, tmp_path, changes):
    path = ann.save(tmp_path / "ann.safetensors")
    with safe_open(path, "pt") as file:
        metadata, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    save_file(tensors, path, {**metadata, **changes})
    return path


def test_a_missing_file_is_said_to_be_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nobody\.safetensors"):
        Persona.load(tmp_path / "nobody.safetensors")


def test_a_full_disk_leaves_what_was_there(ann, tmp_path):
    resource = pytest.importorskip("resource", reason="limits the size of files, as systems like Unix can")
    path = tmp_path / "ann.safetensors"
    path.write_bytes(b"the older one")
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limit[1]))
    try:
        with pytest.raises(OSError):
            ann.save(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, handler)
    assert path.read_bytes() == b"the older one" and os.listdir(tmp_path) == ["ann.safetensors"]


def test_writing_leaves_no_temporary_file(tmp_path):
    write_whole(tmp_path / "a" / "b.bin", b"12")
    assert os.listdir(tmp_path / "a") == ["b.bin"]


def test_a_long_history_is_thinned_to_its_last_value():
    assert thinned([], 500) == [] and thinned([1.23456], 500) == [1.235]
    for count in (500, 501, 1000, 1001, 20_000):
        kept = thinned([float(n) for n in range(1, count + 1)], most=500)
        assert len(kept) <= 500 and kept[-1] == float(f"{count:.4g}") and kept == sorted(kept)
    assert thinned([float(n) for n in range(1, 1001)], most=500)[:2] == [2.0, 4.0]


def test_a_described_setting_is_one_line_whatever_is_in_it(ann):
    """A file's settings are called as whoever made it likes."""
    lines = described(replace(ann, settings={"note\nname: bob": "\u2028name: bob\u202e"})).split("\n")
    assert [line for line in lines if "bob" in line] == ["note\\nname: bob: \\u2028name: bob\\u202e"]
    assert sum(line.startswith("name: ") for line in lines) == 1
