"""Saving that is killed or refused: nothing is lost, nothing is left for ever, nothing wrong is said."""

import errno
import os
import time
from contextlib import suppress
from dataclasses import replace

import folder_paths
import pytest
from prompts import FIRST_RELEASE

from bench.writers import found_by
from persona_core.files import PersonaFileError
from persona_core.host import store

KILLS = 50


@pytest.fixture
def personas(tmp_path, monkeypatch):
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "personas", ([str(tmp_path)], {".safetensors"}))
    return tmp_path


@pytest.mark.skipif(not hasattr(os, "fork"), reason="its writers are forked")
def test_a_killed_writer_loses_nothing_and_blocks_nobody(personas):
    """Each dies at another moment of a save, with its lock and its half-written file."""
    source = FIRST_RELEASE / "kv_tokens.safetensors"
    found = found_by(personas, source, kills=KILLS)
    assert (found.killed, found.lost, found.torn, found.nameless, found.failed) == (KILLS, 0, 0, 0, 0), found
    assert found.saved >= KILLS and found.inside > KILLS / 2
    persona = store.Persona.load(source)
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


@pytest.mark.parametrize("hard_links", [True, False])
@pytest.mark.parametrize("death", [KeyboardInterrupt, OSError])
@pytest.mark.parametrize("step", range(1, 8))
def test_a_picture_is_never_beside_somebody_else(personas, ann, monkeypatch, step, death, hard_links):
    """Whichever change of the folder is the one before which the writer dies, or that fails."""
    path, changes = personas / "ann.safetensors", iter(range(1, 100))
    store.save(replace(ann, fingerprint="1" * 32), path)
    (personas / "ann.png").write_text("of the first")

    def dying(real):
        def change(*given, **named):
            held = death is OSError and str(given[0]).endswith(".png")  # by who looks at it, which is told
            if not held and next(changes) == step:
                raise death
            return real(*given, **named)

        return change

    with monkeypatch.context() as patched:
        patched.setattr(os, "link", os.link if hard_links else lambda *_: os.stat(personas / "none"))
        for name in ("link", "replace", "unlink"):
            patched.setattr(os, name, dying(getattr(os, name)))
        with suppress(death):
            store.save(replace(ann, fingerprint="2" * 32), path)
    for fingerprint in "23":
        beside = [file.with_suffix(".safetensors") for file in personas.glob("*.png")]
        assert len(beside) == 1 and (not beside[0].exists() or store.Persona.load(beside[0]).fingerprint == "1" * 32)
        assert path.exists() or death is KeyboardInterrupt
        store.save(replace(ann, fingerprint=fingerprint * 32), path)
    assert beside[0].exists()


def test_what_is_being_written_now_is_no_leftover(personas, ann):
    fresh = personas / f".bob-0123456789ab{store.FRESH}"
    fresh.write_bytes(b"half")
    store.save(ann, personas / "ann.safetensors")
    assert fresh.exists()
    others = [personas / ".other.tmp", personas / ".notes.new"]
    for file in (fresh, *others):
        file.write_bytes(b"half")
        os.utime(file, (0, 0))
    store.save(ann, personas / "ann.safetensors")
    assert not fresh.exists() and all(file.exists() for file in others), "another program's"


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


def test_a_folder_in_the_place_of_a_file_is_not_said_to_be_missing(personas):
    (personas / "ann.safetensors").mkdir()
    with pytest.raises(PersonaFileError, match="is there, but cannot be read"):
        store.Persona.load(personas / "ann.safetensors")
