"""Names and links: what one system takes and another does not, and what looks the same without being it."""

import io
import os
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import disk
import folder_paths
import pack
import pytest
import safetensors
import torch

from persona_core.file_names import check_name
from persona_core.host import store
from persona_core.host.scoring import Scored
from persona_core.likeness import PictureScore, Reference, Scores
from persona_core.persona import Persona


@pytest.fixture
def personas(tmp_path, monkeypatch):
    folder = tmp_path / "personas"
    folder.mkdir()
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "personas", ([str(folder)], {".safetensors"}))
    return folder


@pytest.fixture(scope="module")
def load_persona():
    return pack.load().nodes.library.LoadPersona


@pytest.fixture
def elsewhere(tmp_path):
    """Another disk, as it were, to which links lead."""
    if not disk.has_links(tmp_path):
        pytest.skip("no links here")
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    return folder


@pytest.fixture
def case_blind(personas, monkeypatch):
    """The folder as Windows and macOS have it: a file is found by its name in any capitals."""

    def there(given):
        if not isinstance(given, (str, os.PathLike)) or Path(given).parent != personas:
            return given
        names = {name.casefold(): name for name in os.listdir(personas)}
        return personas / names.get(Path(given).name.casefold(), Path(given).name)

    calls = {os: ("stat", "lstat", "unlink", "rename", "replace", "link"), io: ("open",), safetensors: ("safe_open",)}
    for module, names in calls.items():
        for name in names:
            real = getattr(module, name)
            monkeypatch.setattr(module, name, lambda *given, real=real, **named: real(*map(there, given), **named))
    return personas


def prints(folder: Path) -> dict[str, str]:
    """Whose fingerprint is in which file."""
    return {file.name: Persona.load(file).fingerprint for file in folder.glob("*.safetensors")}


@pytest.mark.parametrize(
    "name",
    ["CON", "nul", "conin$", "com1.old", "Lpt9", "a\u202eb", "\u200eann", "ann\ud800", "ann\x7f", "a\x85n", "clock$", "a\u00adn", "a\u034fn", "a\u200bn", "a\u2028n", "a\u2029n", "a\u2060n", "a\ufeffn", "a" * 121, "/".join("a" * 17), ".hidden", "ann.", "..", "a/../b", "\u00e9" * 61],
)  # fmt: skip
def test_names_that_some_system_cannot_keep_are_refused(name):
    with pytest.raises(ValueError) as found:
        check_name(name, folders="/" in name)
    assert str(found.value).isprintable() and len(str(found.value)) < 300


@pytest.mark.parametrize("name", ["Console", "ann.con", "安娜", "Ann 2", "👩\u200d🎤", "मीरा", "com12"])
def test_names_of_all_languages_are_taken(name):
    assert check_name(name, folders=False) == name


def test_twins_by_composition_are_one_name():
    assert check_name("Rene\u0301", folders=False) == check_name("Ren\u00e9", folders=False) == "Ren\u00e9"


def test_capitals_alone_make_another_name_where_the_system_tells_them_apart(personas, ann):
    if not disk.tells_apart(personas, "a", "A"):
        pytest.skip("this disk does not")
    one, other = (replace(ann, fingerprint=digit * 32) for digit in "12")
    store.save(one, store.path_for("ann"))
    store.save(other, store.path_for("Ann"))
    assert prints(personas) == {"ann.safetensors": "1" * 32, "Ann.safetensors": "2" * 32}
    assert store.find("ann", "1" * 32)[0] and store.find("Ann", "1" * 32) == (None, None)


def test_where_it_does_not_the_other_is_kept_beside(case_blind, ann):
    one, other = (replace(ann, fingerprint=digit * 32) for digit in "12")
    store.save(one, store.path_for("ann"))
    (case_blind / "ann.png").write_text("of the first")
    assert store.find("Ann", "1" * 32)[0], "it is the same file"
    store.save(replace(one, settings={"score": 1.0}), store.path_for("Ann"))
    assert len(prints(case_blind)) == 1
    store.save(other, store.path_for("Ann"))
    assert sorted(prints(case_blind).values()) == ["1" * 32, "2" * 32]
    assert store.find("ann", "2" * 32)[0] and store.find("Ann", "1" * 32)[0]
    assert (case_blind / "Ann.11111111.png").read_text() == "of the first"


def test_one_that_was_copied_from_a_system_that_composes_otherwise_stays_itself(personas, ann, load_persona):
    if not disk.tells_apart(personas, "e\u0301", "\u00e9"):
        pytest.skip("this disk composes names itself, or takes both for one")
    apart = "Rene\u0301.safetensors"
    replace(ann, fingerprint="1" * 32).save(personas / apart)
    store.save(replace(ann, fingerprint="2" * 32), store.path_for(check_name("Rene\u0301", folders=False)))
    assert prints(personas) == {apart: "1" * 32, "Ren\u00e9.safetensors": "2" * 32}
    assert load_persona.execute(apart)[0].fingerprint == "1" * 32


def test_hidden_files_are_not_in_the_list_and_are_not_loaded(personas, ann, load_persona):
    for file in ("ann.safetensors", ".trash/bob.safetensors", "friends/.eve.safetensors"):
        ann.save(personas / file)
    (personas / "._ann.safetensors").write_bytes(b"of another system")
    with suppress(OSError):  # where names must be UTF-8
        (personas / "no text \udcff.safetensors").write_bytes(b"of a system with another alphabet")
    folder_paths.filename_list_cache.clear()
    assert store.listed() == ["ann.safetensors"] and load_persona.validate_inputs("ann.safetensors") is True
    for file in (
        "._ann.safetensors",
        ".trash/bob.safetensors",
        "friends/.eve.safetensors",
        "../personas/ann.safetensors",
    ):
        assert "There is no persona" in load_persona.validate_inputs(file)


@pytest.mark.parametrize("asked", ["friends/zoe\u0301.safetensors", "friends\\Zo\u00e9.safetensors"])
def test_a_workflow_of_another_system_is_told_of_the_name_that_is_alike(personas, ann, load_persona, asked):
    for file in [f"a{number}" for number in range(10)] + ["friends/Zo\u00e9"]:
        ann.save(personas / f"{file}.safetensors")
    folder_paths.filename_list_cache.clear()
    if store.place_of(asked):
        pytest.skip("this system takes it for the same")
    assert "found: friends/Zo\u00e9.safetensors, a0.safetensors" in load_persona.validate_inputs(asked)


def test_names_are_quoted_escaped_and_short(personas, ann, load_persona, caplog):
    said = "\u202eann " + "x" * 9000
    unlike = Scores((PictureScore((), ()),), Reference(torch.ones(1, 4)))
    pack.load().nodes.score.keep(replace(ann, name=said), Scored(unlike, ("",), ""))
    for sentence in (caplog.records[-1].message, load_persona.validate_inputs(said)):
        assert "ann x" in sentence and sentence.isprintable() and len(sentence) < 800, sentence


def test_a_path_that_is_too_long_is_a_short_sentence_before_anything_is_learned(personas, ann, monkeypatch):
    if not disk.says_too_long(personas):
        pytest.skip("this system says something else of it")
    deep = [str(personas / "/".join(["d" * 200] * 30))]
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "personas", (deep, {".safetensors"}))
    for attempt in (lambda path: store.check_writable("ann", path), lambda path: store.save(ann, path)):
        with pytest.raises(OSError, match="File name too long.*Choose a shorter name") as found:
            attempt(store.path_for("ann"))
        assert len(str(found.value)) < 400
    nearly = personas / ("d" * 250)
    with pytest.raises(OSError, match="Choose a shorter name"):
        store.check_writable("ann", nearly.with_suffix(".safetensors"))
    assert not list(personas.iterdir())


def test_links_are_read_and_listed_as_those_of_models_are(personas, elsewhere, ann, load_persona):
    ann.save(elsewhere / "ann.safetensors")
    (personas / "linked.safetensors").symlink_to(elsewhere / "ann.safetensors")
    (personas / "friends").symlink_to(elsewhere)
    folder_paths.filename_list_cache.clear()
    assert store.listed() == ["friends/ann.safetensors", "linked.safetensors"]
    for file in store.listed():
        assert load_persona.execute(file)[0].learned == Persona.load(elsewhere / "ann.safetensors").learned
    store.save(replace(ann, fingerprint="2" * 32), store.path_for("friends/bob"))
    assert (elsewhere / "bob.safetensors").is_file(), "a folder's link is somebody's wish"


@pytest.mark.parametrize("same", [True, False])
def test_saving_replaces_a_link_and_leaves_what_it_leads_to(personas, elsewhere, ann, same):
    target = replace(ann, fingerprint="1" * 32).save(elsewhere / "ann.safetensors")
    before, link = target.read_bytes(), store.path_for("ann")
    link.symlink_to(target)
    (personas / "ann.png").symlink_to(elsewhere / "ann.png")
    (elsewhere / "ann.png").write_bytes(b"a picture")
    store.save(replace(ann, fingerprint="1" * 32 if same else "2" * 32, settings={"score": 1.0}), link)
    store.save_picture(torch.zeros(8, 8, 3), link)
    assert target.read_bytes() == before and (elsewhere / "ann.png").read_bytes() == b"a picture"
    assert not link.is_symlink() and Persona.load(link).settings == {"score": 1.0}
    kept = personas / "ann.11111111.safetensors"
    assert kept.exists() != same and not kept.is_symlink() and (same or kept.read_bytes() == before)


def test_a_link_that_leads_nowhere_now_is_kept(personas, elsewhere, ann):
    """Its disk may come back."""
    link = store.path_for("ann")
    link.symlink_to(elsewhere / "away.safetensors")
    store.save(ann, link)
    assert not link.is_symlink() and (personas / "ann.damaged.safetensors").is_symlink()


@pytest.mark.parametrize("hard_links", [True, False])
@pytest.mark.parametrize("leads_to", ["ann.11111111", "bob", "old/ann.11111111", "ann.11111111-2"])
def test_a_link_within_the_folder_loses_nobody(personas, ann, monkeypatch, leads_to, hard_links):
    """Also one to the persona's own kept copy, of which it may be the only file."""
    if not hard_links:
        monkeypatch.setattr(os, "link", lambda *_: os.stat(personas / "none"))
    (personas / "old").symlink_to(".")
    target, link = store.path_for(leads_to), store.path_for("ann")
    replace(ann, fingerprint="1" * 32).save(target)
    link.symlink_to(f"{leads_to}.safetensors")
    store.save(replace(ann, fingerprint="2" * 32), link)
    found, place = store.find("ann", "1" * 32)
    assert found and not place.is_symlink() and prints(personas)["ann.safetensors"] == "2" * 32
    replace(ann, fingerprint="3" * 32).save(target if leads_to == "bob" else store.path_for("zoe"))
    assert store.find("ann", "1" * 32)[0], "what the link led to is somebody else now"


def test_a_kept_name_that_is_a_link_becomes_a_file(personas, ann):
    one, link, kept = replace(ann, fingerprint="1" * 32), store.path_for("ann"), store.path_for("ann.11111111")
    one.save(store.path_for("bob"))
    kept.symlink_to("bob.safetensors")
    link.symlink_to(kept.name)
    store.save(replace(ann, fingerprint="2" * 32), link)
    assert not kept.is_symlink() and set(prints(personas).values()) == {"1" * 32, "2" * 32}
    kept.unlink()
    one.save(link)
    kept.symlink_to("ann.safetensors")
    store.save(replace(ann, fingerprint="2" * 32), link)
    assert not kept.is_symlink() and prints(personas)[kept.name] == "1" * 32
