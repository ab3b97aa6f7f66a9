"""Forgetting a person: all that is theirs goes, nothing that is somebody else's, and what else there may be is said."""

import shutil
import subprocess
import sys
from pathlib import Path

import disk
import pytest
from gallery import put_persona

from persona_core.forget import files_of, remove

PACK = Path(__file__).resolve().parents[2]
LONG = "a name of so many letters that temporary files cut it"
OF_ANN = (
    "ann.safetensors", "ann.0123abcd.safetensors", "ann.damaged.safetensors", "ann.0123abcd.damaged.safetensors",
    "ann.png", "ann.webp", "ann.preview.png", "ann.0123abcd.jpg", "ann.json", "ann.civitai.info",
    ".ann-0123456789ab.partial", ".ann-0123456789ab.new", ".ann-abcd_123.tmp", "..ann-0123456789ab-abcd_123.tmp",
    "ann.0123abcd-2.safetensors", "ann.damaged-12.png", ".ann.0123abcd-2-0123456789ab.new",
    ".ann.0123abcd-0123456789ab.new", "friends/ann.safetensors", "friends/.ann-0123456789ab.partial",
)  # fmt: skip
OF_OTHERS = (
    ".lock", "anna.safetensors", "ann.v2.safetensors", "ann.v2.png", "ann-2.png", "ann 2.safetensors", "Ann.safetensors",
    ".anna-0123456789ab.partial", ".ann.v2-0123456789ab.new", "joann.safetensors", "..anna-0123456789ab-abcd_123.tmp",
    "best of.0123abcd.safetensors", "ann.0123abcd-b.safetensors", ".best of-0123456789ab.partial", "bob.safetensors",
)  # fmt: skip
COPIES = "best of.safetensors", "best of.png", "friends/old/anything.safetensors", "ann.safetensors.bak"


@pytest.fixture
def folder(tmp_path):
    """Ann, copies of her, and others whose names are like hers."""
    folder = tmp_path / "models/personas"
    for number, name in enumerate((*OF_ANN, *OF_OTHERS)):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"of its own" + bytes([number]))
    put_persona(folder / "ann.safetensors")
    for copy in COPIES:
        (folder / copy).parent.mkdir(parents=True, exist_ok=True)
        put_persona(folder / copy, name="anything", settings='{"steps": 2}')
    (folder / "best of.png").write_bytes(b"a picture")
    return folder


def forget(*arguments) -> subprocess.CompletedProcess:
    command = [sys.executable, "-X", "utf8", "-m", "persona_core.forget", *map(str, arguments)]
    return subprocess.run(command, cwd=PACK, capture_output=True, encoding="utf-8")


def files(folder: Path) -> set[str]:
    return {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}


def test_it_lists_and_removes_nothing_until_it_is_told_to(folder):
    before = files(folder)
    said = forget("ann", "--folder", folder)
    assert said.returncode == 0 and files(folder) == before, said.stderr
    lines = [Path(line.strip()) for line in said.stdout.splitlines() if line.startswith("  ")]
    listed = {path.relative_to(folder).as_posix() for path in lines if path.is_absolute()}
    assert listed == {*OF_ANN, *COPIES}


def test_all_of_hers_goes_with_copies_of_other_names_and_nothing_else(folder):
    said = forget("ann.safetensors", "--folder", folder, "--yes")
    others = {*OF_OTHERS} - ({"Ann.safetensors"} if not disk.tells_apart(folder, "b", "B") else set())
    assert said.returncode == 0 and files(folder) == others, said.stderr
    for place in ("input", "output", "user", "metadata", "backups", "other machines"):
        assert place in said.stdout
    again = forget("ann", "--folder", folder)
    assert again.returncode == 1 and "No file of 'ann' is there." in again.stdout


@pytest.mark.parametrize("name", [LONG, "安娜", "a+b (c)"])
def test_names_that_are_long_or_hold_anything(tmp_path, name):
    theirs = {f"{name}.safetensors", f".{name[:40]}-abcd_123.tmp", f".{f'.{name}-0123456789ab'[:40]}-abcd_123.tmp"}
    for file in (*theirs, "other.safetensors", ".a-abcd_123.tmp"):
        (tmp_path / file).write_bytes(b"x")
    assert forget(name, "--folder", tmp_path, "--yes").returncode == 0
    assert files(tmp_path) == {"other.safetensors", ".a-abcd_123.tmp"}


def test_what_is_linked_is_said_and_stays(tmp_path):
    if not disk.has_links(tmp_path):
        pytest.skip("no links here")
    folder, elsewhere = tmp_path / "personas", tmp_path / "elsewhere"
    elsewhere.mkdir()
    put_persona(elsewhere / "ann.safetensors")
    folder.mkdir()
    (folder / "ann.safetensors").symlink_to(elsewhere / "ann.safetensors")
    (folder / "round").symlink_to(folder)  # without end
    put_persona(folder / "zoe.safetensors")
    (folder / "ann.0123abcd.safetensors").symlink_to("zoe.safetensors")
    said = forget("ann", "--folder", folder, "--yes")
    assert f"{elsewhere / 'ann.safetensors'}, which stays" in said.stdout
    assert f"{folder / 'zoe.safetensors'}, which goes too" in said.stdout
    assert not files(folder) and files(elsewhere) == {"ann.safetensors"}


def test_what_lies_behind_a_linked_folder_goes_and_it_is_said_where_that_is(tmp_path):
    if not disk.has_links(tmp_path):
        pytest.skip("no links here")
    folder, elsewhere = tmp_path / "personas", tmp_path / "other disk"
    put_persona(elsewhere / "ann.safetensors")
    folder.mkdir()
    (folder / "friends").symlink_to(elsewhere)
    said = forget("ann", "--folder", folder)
    assert f"{folder / 'friends/ann.safetensors'}, which lies elsewhere: {elsewhere / 'ann.safetensors'}" in said.stdout
    assert forget("ann", "--folder", folder, "--yes").returncode == 0 and not files(elsewhere)


def test_capitals_do_not_count_where_the_system_does_not_see_them(folder, monkeypatch):
    if not disk.tells_apart(folder, "b", "B"):
        pytest.skip("this one does not, and took both for one file")
    there = files_of("ann", [folder])
    monkeypatch.setattr(Path, "exists", lambda path: True)
    monkeypatch.setattr(Path, "samefile", lambda path, other: path.name.casefold() == other.name.casefold())
    assert set(files_of("ann", [folder])) - set(there) == {folder / "Ann.safetensors"}


def test_what_cannot_be_removed_is_said(tmp_path):
    (tmp_path / "file").write_bytes(b"x")
    failed = remove([tmp_path, tmp_path / "file", tmp_path / "gone"])  # a folder, as if its file were held fast
    assert len(failed) == 2 and failed[0].startswith(f"{tmp_path} could not be removed: ") and files(tmp_path) == set()


@pytest.mark.parametrize("arguments", [["../ann"], [""], ["ann", "--folder", "no/such/folder"], []])
def test_what_it_is_not_given_rightly_is_refused(arguments):
    said = forget(*arguments)
    assert said.returncode == 2 and "Traceback" not in said.stderr


def test_it_finds_the_folder_of_the_comfyui_that_it_is_in_without_torch(tmp_path):
    pack = tmp_path / "custom_nodes/persona"
    shutil.copytree(PACK / "persona_core", pack / "persona_core")
    put_persona(tmp_path / "models/personas/ann.safetensors")
    code = "import sys; sys.modules['torch'] = None; sys.argv = ['forget', 'ann', '--yes']; from persona_core import forget; sys.exit(forget.main())"
    ended = subprocess.run([sys.executable, "-c", code], cwd=pack, capture_output=True, text=True)
    assert ended.returncode == 0 and files(tmp_path / "models") == set(), ended.stderr
