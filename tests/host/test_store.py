"""Personas on disk: found again whatever they are called, and nothing lost where two ComfyUIs share a folder."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import folder_paths
import pytest

from persona_core.consent import Consent
from persona_core.host import store

SAVES = 40
SAVE = """
import sys
sys.path[:0] = {path!r}
from tools import host_modules
from dataclasses import replace
from pathlib import Path
from persona_core.host import store
persona = store.Persona.load(Path({source!r}))
print("ready", flush=True)
sys.stdin.readline()
for number in range({saves}):
    store.save(replace(persona, fingerprint=f"{{number:04d}}{who}" + "0" * 20), Path({file!r}))
"""


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
    found, _ = store.read("ann.safetensors")
    assert found.settings["score"] == 0.9 and found.consent == Consent("Ann")


def test_two_processes_that_save_one_name_lose_nothing(personas, ann, tmp_path_factory):
    source = str(ann.save(tmp_path_factory.mktemp("source") / "ann.safetensors"))
    given = {"path": [one for one in sys.path if one], "source": source, "file": str(personas / "ann.safetensors")}
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", SAVE.format(**given, saves=SAVES, who=who)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for who in "ab"
    ]  # fmt: skip
    for writer in writers:
        while (line := writer.stdout.readline()) and "ready" not in line:
            pass
    ended = [writer.communicate("go\n", timeout=300) for writer in writers]
    assert [writer.returncode for writer in writers] == [0, 0], ended
    kept = [store.Persona.load(one).fingerprint for one in personas.glob("*.safetensors")]
    assert len(set(kept)) == len(kept) == 2 * SAVES
    assert {one.name for one in personas.iterdir() if one.suffix != ".safetensors"} == {".lock"}


def test_a_lock_that_a_killed_process_left_holds_nobody_up(personas, ann):
    persona = store.Persona.load(ann.save(personas / "source.safetensors"))
    code = f"from filelock import FileLock; import os; FileLock({str(Path(personas, store.LOCK))!r}).acquire(); os._exit(9)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 9
    store.save(persona, store.path_for("ann"))
    assert store.path_for("ann").is_file()
