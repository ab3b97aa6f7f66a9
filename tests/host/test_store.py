"""Personas on disk: found again whatever they are called, and nothing lost where two ComfyUIs share a folder."""

import copy
import os
from dataclasses import replace
from pathlib import Path

import folder_paths
import pytest
import torch
from prompts import FIRST_RELEASE

from bench.writers import Found, found_by
from persona_core.consent import Consent
from persona_core.forget import files_of
from persona_core.host import store
from persona_core.persona import Persona

SAVES = 40


@pytest.fixture
def personas(tmp_path, monkeypatch):
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "personas", ([str(tmp_path)], {".safetensors"}))
    return tmp_path


@pytest.mark.parametrize("name", ["ann", "Dr. Ann", "ann.v2"])
def test_a_persona_that_made_room_is_found_again(personas, ann, name):
    persona = store.Persona.load(ann.save(personas / "source.safetensors"))
    path = store.path_for(name)
    for fingerprint in ("1" * 32, "2" * 32):
        store.save(replace(persona, fingerprint=fingerprint), path)
    for fingerprint in ("1" * 32, "2" * 32):
        found, place = store.find(name, fingerprint)
        assert found is not None and found.fingerprint == fingerprint and place.is_file()


def other_numbers(persona: Persona, seed: int) -> Persona:
    """One that says of itself what this one does."""
    other = copy.deepcopy(persona)
    torch.nn.init.normal_(other.representation.head.weight, generator=torch.Generator().manual_seed(seed))
    return other


def there(folder: Path) -> set[str]:
    return {Persona.load(file).learned for file in folder.glob("*.safetensors")}


def test_a_file_that_only_says_it_is_the_same_takes_nobodys_place(personas, ann):
    """Nor does what another machine learned of the same inputs."""
    path, numbers = store.path_for("ann"), []
    for seed in range(3):
        numbers.append(store.save(other_numbers(ann, seed), path).learned)
    assert len(there(personas)) == 3 and there(personas) == set(numbers)
    assert len(files_of("ann", [personas])) == 3
    newest, place = store.find("ann", ann.fingerprint)
    assert place == path and newest.learned == numbers[-1]
    assert store.keep_settings(newest, {"score": 0.9})
    assert [file for file in personas.glob("*.safetensors") if "score" in Persona.load(file).settings] == [path]
    path.unlink()
    assert store.find("ann", ann.fingerprint)[0].learned in numbers[:2]


def test_two_whose_fingerprints_begin_alike_are_both_kept(personas, ann):
    prints = ["1" * 8 + end * 24 for end in "abc"]
    for fingerprint in 3 * [*prints, "2" * 32]:
        store.save(replace(ann, fingerprint=fingerprint), store.path_for("ann"))
    assert len(there(personas)) == 4 and len(list(personas.glob("ann.*.safetensors"))) == 4, "each is kept once"
    for fingerprint in prints:
        assert store.find("ann", fingerprint)[0].fingerprint == fingerprint
    assert store.keep_settings(replace(ann, fingerprint=prints[1]), {"score": 0.9})
    assert store.find("ann", prints[1])[0].settings["score"] == 0.9


def test_what_cannot_be_read_is_kept_each_time(personas, ann):
    """It may be of a later version."""
    for number in range(3):
        store.path_for("ann").write_bytes(b"of a later version" + bytes([number]))
        store.save(ann, store.path_for("ann"))
    kept = {file.read_bytes() for file in personas.glob("ann.damaged*.safetensors")}
    assert len(kept) == 3 and len(files_of("ann", [personas])) == 4


@pytest.mark.parametrize(
    "changes",
    [{"settings": {"score": 1.0}}, {"losses": {"noise": [0.1]}}, {"consent": Consent("Ann")}, {"name": "Ann"}],
)
def test_the_same_persona_that_says_more_replaces_itself(personas, ann, changes):
    path = store.path_for("ann")
    store.save(ann, path)
    store.save(replace(Persona.load(path), **changes), path)
    assert list(personas.glob("*.safetensors")) == [path]


def test_a_picture_goes_with_the_persona_that_it_shows(personas, ann):
    persona = store.Persona.load(ann.save(personas / "source.safetensors"))
    path = store.path_for("ann")
    store.save(replace(persona, fingerprint="1" * 32), path)
    for ending in (".png", ".preview.png"):
        (personas / f"ann{ending}").write_text(f"of the first: {ending}")
    store.save(replace(persona, fingerprint="1" * 32), path)
    assert set(store.pictured()) == {"ann.safetensors"}
    store.save(replace(persona, fingerprint="2" * 32), path)
    assert set(store.pictured()) == {"ann.11111111.safetensors"}
    assert (personas / "ann.11111111.png").read_text() == "of the first: .png"


def test_consent_stays_where_more_settings_are_written(personas, ann):
    agreed = replace(store.Persona.load(ann.save(personas / "source.safetensors")), consent=Consent("Ann"))
    store.save(agreed, store.path_for("ann"))
    assert store.keep_settings(agreed, {"score": 0.9})
    found = store.read(store.path_for("ann"))
    assert found.settings["score"] == 0.9 and found.consent == Consent("Ann")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="its writers are forked")
def test_two_processes_that_save_one_name_lose_nothing(personas):
    assert found_by(personas, FIRST_RELEASE / "kv_tokens.safetensors", writers=2, rounds=SAVES) == Found(
        saved=2 * SAVES
    )
    kept = [store.Persona.load(one).fingerprint for one in personas.glob("*.safetensors")]
    assert len(set(kept)) == len(kept) == 2 * SAVES
    assert {one.name for one in personas.iterdir() if one.suffix != ".safetensors"} == {".lock"}
