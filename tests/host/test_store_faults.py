"""Saving that is killed, refused or badly named: nothing is lost, nothing is left for ever, nothing wrong is said."""

import errno
import os
import subprocess
import sys
import time
from dataclasses import replace

import folder_paths
import pytest

from persona_core.files import PersonaFileError
from persona_core.host import store

KILLS = 50
WRITE = """
import sys
sys.path[:0] = {path!r}
from tools import host_modules
import folder_paths, itertools
from dataclasses import replace
from pathlib import Path
from persona_core.host import store
folder_paths.folder_names_and_paths["personas"] = ([{folder!r}], {{".safetensors"}})
persona = store.Persona.load(Path({source!r}))
if not sys.stdin.readline(): raise SystemExit
for number in itertools.count():
    store.save(replace(persona, fingerprint=f"{{number % 3:08x}}" + "0" * 24), Path({folder!r}, "ann.safetensors"))
"""


@pytest.fixture
def personas(tmp_path, monkeypatch):
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "personas", ([str(tmp_path)], {".safetensors"}))
    return tmp_path


def test_a_killed_writer_loses_nothing_and_blocks_nobody(personas, ann, tmp_path_factory):
    """Each dies at another moment of a save, with its lock and its half-written file."""
    source = ann.save(tmp_path_factory.mktemp("source") / "ann.safetensors")
    code = WRITE.format(path=[one for one in sys.path if one], folder=str(personas), source=str(source))
    persona = store.Persona.load(source)
    store.save(replace(persona, fingerprint="f" * 32), personas / "ann.safetensors")
    began = subprocess.Popen([sys.executable, "-c", FORKS.format(code=code, kills=KILLS)])
    assert began.wait(300) == 0
    whole = [store.Persona.load(file) for file in personas.glob("*.safetensors")]
    assert {"f" * 32} <= {one.fingerprint for one in whole}, "the first was moved aside, and is there"
    saved = store.save(replace(persona, fingerprint="e" * 32), personas / "ann.safetensors")
    assert saved.fingerprint == "e" * 32, "no lock is left"
    left = [file for file in personas.iterdir() if file.name.endswith((store.FRESH, ".tmp"))]
    for file in left:
        os.utime(file, (time.time() - 2 * store.LEFT_OVER,) * 2)
    partial = personas / f".ann-{'a' * 12}.partial"
    partial.write_bytes(b"hours of learning")
    os.utime(partial, (0, 0))
    store.save(replace(persona, fingerprint="d" * 32), personas / "ann.safetensors")
    assert left and not any(file.exists() for file in left) and partial.exists()


# The host is imported once, and a copy of the process is killed each time.
FORKS = """
import os, random, signal, time, io, sys
chance, code = random.Random(0), {code!r}
setup, loop = code.split("if not sys.stdin")
exec(setup)
loop = "for number" + loop.split("for number")[1]
for _ in range({kills}):
    child = os.fork()
    if not child:
        exec(loop)
    time.sleep(0.01 + 0.05 * chance.random())
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
"""


def test_what_is_being_written_now_is_no_leftover(personas, ann):
    fresh = personas / f".bob-1{store.FRESH}"
    fresh.write_bytes(b"half")
    store.save(ann, personas / "ann.safetensors")
    assert fresh.exists()


@pytest.mark.parametrize(
    ("number", "advice"),
    [(errno.ENOSPC, "Free some space"), (errno.EACCES, "Allow ComfyUI to write"), (errno.EROFS, "Allow ComfyUI to write"), (errno.ENAMETOOLONG, "shorter name"), (errno.EIO, "another name")],
)  # fmt: skip
def test_the_advice_fits_the_error(personas, ann, monkeypatch, number, advice):
    def fail(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match=f"could not be saved .*{os.strerror(number)}.*{advice}") as found:
        store.save(ann, personas / "ann.safetensors")
    assert ("Free some space" in str(found.value)) == (number == errno.ENOSPC)


@pytest.mark.parametrize(
    "name",
    ["CON", "nul", "com1.old", "Lpt9", "a\u202eb", "\u200eann", "ann\ud800", "ann\x7f", "a" * 121, ".hidden", "ann.", "..", "a/b", "\u00e9" * 61],
)  # fmt: skip
def test_names_that_some_system_cannot_keep_are_refused(name):
    with pytest.raises(ValueError) as found:
        store.check_name(name, folders=False)
    assert str(found.value).isprintable() and len(str(found.value)) < 300


@pytest.mark.parametrize("name", ["Console", "ann.con", "安娜", "Ann 2", "👩\u200d🎤", "मीरा", "com12"])
def test_names_of_all_languages_are_taken(name):
    assert store.check_name(name, folders=False) == name


def test_twins_by_composition_are_one_name():
    assert store.check_name("Rene\u0301", folders=False) == store.check_name("Ren\u00e9", folders=False) == "Ren\u00e9"


def test_hidden_files_are_not_in_the_list(personas, ann):
    ann.save(personas / "ann.safetensors")
    (personas / "._ann.safetensors").write_bytes(b"of another system")
    (personas / ".trash").mkdir()
    ann.save(personas / ".trash/bob.safetensors")
    assert store.listed() == ["ann.safetensors"]


def test_a_folder_in_the_place_of_a_file_is_not_said_to_be_missing(personas):
    (personas / "ann.safetensors").mkdir()
    with pytest.raises(PersonaFileError, match="is there, but cannot be read"):
        store.Persona.load(personas / "ann.safetensors")
