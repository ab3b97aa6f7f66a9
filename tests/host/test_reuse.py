"""What was learned and could not be saved: it is kept, but not without end."""

from dataclasses import replace
from errno import ENOSPC

import folder_paths
import pytest

from persona_core.consent import Consent
from persona_core.host import store
from persona_core.host.learn import reuse


@pytest.fixture
def full_disk(monkeypatch, tmp_path):
    monkeypatch.setattr(reuse, "unsaved", {})
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "personas", ([str(tmp_path)], {".safetensors"}))

    def save(persona, path):
        raise OSError(ENOSPC, "No space left on device")

    with monkeypatch.context() as changes:
        changes.setattr(store, "save", save)
        yield changes


def test_the_newest_are_kept(full_disk, job):
    for number in range(reuse.MOST_UNSAVED + 1):
        with pytest.raises(OSError, match="No space"):
            reuse.train_and_save(job, f"{number}")
    assert list(reuse.unsaved) == [f"{number}" for number in range(1, reuse.MOST_UNSAVED + 1)]


def test_what_is_kept_is_saved_without_learning_again(full_disk, job):
    with pytest.raises(OSError, match="No space"):
        reuse.train_and_save(job, "1" * 32)
    learned = reuse.unsaved["1" * 32]
    full_disk.undo()
    full_disk.setattr(reuse, "train_persona", lambda *given: pytest.fail("learned again"))
    persona, path, said = reuse.train_and_save(job, "1" * 32)
    assert path.is_file() and persona.fingerprint == learned.fingerprint and not reuse.unsaved and "saved as" in said


def test_consent_is_taken_from_what_was_learned_and_not_from_a_file_that_says_so(full_disk, job):
    full_disk.undo()
    learned, path, _ = reuse.train_and_save(job, "1" * 32)
    for source, agreed in ((learned, True), (replace(learned, supercategory="cat"), False)):
        replace(source, consent=Consent("Ann")).save(path)
        assert bool(reuse.train_and_save(job, "1" * 32)[0].consent) == agreed
