"""The lock of a folder of personas: who may take it, how long it is waited for, and what is done under it."""

import os
import stat
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import folder_paths
import pytest
from filelock import FileLock

from persona_core.consent import Consent
from persona_core.host import store


@pytest.fixture
def personas(tmp_path, monkeypatch):
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "personas", ([str(tmp_path)], {".safetensors"}))
    return tmp_path


def test_one_that_a_killed_process_left_holds_nobody_up(personas, ann):
    code = f"from filelock import FileLock; import os; FileLock({str(Path(personas, store.LOCK))!r}).acquire(); os._exit(9)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 9
    store.save(ann, store.path_for("ann"))
    assert store.path_for("ann").is_file()


@pytest.mark.skipif(os.name == "nt", reason="no such modes there")
@pytest.mark.parametrize("first", [store.check_writable, lambda name, path: None])
def test_every_user_of_a_shared_folder_may_take_it(personas, ann, first):
    before = os.umask(0o077)
    try:
        first("ann", store.path_for("ann"))
        store.save(ann, store.path_for("ann"))
    finally:
        os.umask(before)
    assert stat.S_IMODE((personas / store.LOCK).stat().st_mode) == 0o666


def test_it_is_tried_before_hours_of_learning(personas):
    (personas / store.LOCK).mkdir()  # as if it were another user's, whom root may read
    with pytest.raises(OSError, match="'ann' could not be saved"):
        store.check_writable("ann", store.path_for("ann"))


def test_whoever_holds_it_for_long_is_told_of(personas, ann, monkeypatch):
    monkeypatch.setattr(store, "PATIENCE", 0.2)
    for attempt in (lambda path: store.check_writable("ann", path), lambda path: store.save(ann, path)):
        with (
            FileLock(personas / store.LOCK),
            pytest.raises(OSError, match="another ComfyUI has held .lock .*Wait for it"),
        ):
            attempt(store.path_for("ann"))
    store.save(ann, store.path_for("ann"))


@pytest.mark.parametrize("meanwhile", ["consent", "another", "removed"])
def test_settings_are_written_into_what_is_there_by_then(personas, ann, meanwhile):
    path = store.path_for("ann")
    ann = store.save(ann, path)
    with ThreadPoolExecutor() as threads, FileLock(personas / store.LOCK):
        keeping = threads.submit(store.keep_settings, ann, {"score": 0.9})
        time.sleep(0.5)  # it has read the file, and waits
        assert not keeping.done()
        if meanwhile == "removed":
            path.unlink()
        else:
            changes = {"consent": Consent("Ann")} if meanwhile == "consent" else {"fingerprint": "2" * 32}
            replace(ann, **changes).save(path)
    assert keeping.result()
    found = store.read(path) if path.exists() else None
    told = found and (found.fingerprint, found.settings.get("score"), bool(found.consent))
    assert told == {"consent": (ann.fingerprint, 0.9, True), "another": ("2" * 32, None, False)}.get(meanwhile)
