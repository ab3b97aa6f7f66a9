"""Forget a person: remove the files of a persona, and say what else may hold that person.

    python -m persona_core.forget ann              lists what is there, and removes nothing
    python -m persona_core.forget ann --yes        removes it

From this pack's folder, with any Python; ComfyUI should not be running. Folders of personas that are elsewhere, as
extra_model_paths.yaml may say, are named with --folder, as often as there are some.
"""

import argparse
import hashlib
import io
import json
import os
import re
import sys
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path

from .kept import EXTENSION, KEPT

FOLDER = Path(__file__).absolute().parents[3] / "models/personas"  # of the ComfyUI in whose custom_nodes we are
# Pictures as galleries find them, and the notes that managers of models leave.
BESIDE = r"(?:\.preview)?\.(?:png|webp|jpe?g|gif|bmp|avif)|(?:\.metadata)?\.json|\.txt|\.info|\.civitai\.info"
# Learning (host/learn/reuse.py), or a file that is not yet in its place, or who learns (command/claims.py).
UNFINISHED = r"-[0-9a-f]{12}\.(?:partial|new|lock)"
TEMPORARY = re.compile(r"\.(.+)-[a-z0-9_]{8}\.tmp")  # files.write_whole; it may have cut the name off
LARGEST_HEADER = 2**22  # bytes, as files.py has it
ELSEWHERE = """
What else may hold {name}, and is yours to look through:
- the photos they were learned from, in ComfyUI's folder input, and where you had them from;
- pictures of them, in ComfyUI's folders output and temp, with their name, words and workflow in their metadata;
- workflows that name them, in ComfyUI's folder user, in other folders, and in pictures;
- merged or exported copies under other names, and files of other packs;
- backups, snapshots, trash and synchronised folders, and disks that undelete;
- what is unfinished of personas at a URL: ~/.cache/persona in the home of whoever learned them;
- other machines, and whoever was given the file or a picture. A ComfyUI that runs still has what it loaded."""


def files_of(name: str, folders: Iterable[Path]) -> list[Path]:
    """Each file of a persona: by its name, and copies of what was learned that have other names."""
    there = [file for folder in folders for file in files_in(folder)]
    named = {file for file in there if is_theirs(file, name)}
    own = [file for file in named if file.suffix == EXTENSION]
    learned = {found for file in own if (found := content_of(file))}
    sizes, inputs = {size for size, _ in learned}, {told for file in own if (told := fingerprint_in(file))}
    copies = {file for file in there if content_size(file) in sizes and content_of(file) in learned}
    copies |= {file for file in there if fingerprint_in(file) in inputs}  # in another form, or of another machine
    # Of a copy only what lies beside it: who is kept or learned under its name may be somebody else.
    beside = {file for copy in copies for file in there if file.parent == copy.parent and is_beside(file, copy)}
    return sorted(named | copies | beside)


def is_beside(file: Path, persona: Path) -> bool:
    return bool(re.fullmatch(re.escape(persona.stem) + f"(?:{BESIDE})", file.name))


def files_in(folder: Path) -> Iterator[Path]:
    """Hidden ones too, and those behind links, as ComfyUI lists them."""
    seen = set()
    for place, folders, files in os.walk(folder, followlinks=True):
        if (real := os.path.realpath(place)) in seen:
            folders.clear()
            continue
        seen.add(real)
        yield from (Path(place, file) for file in files)


def is_theirs(file: Path, name: str) -> bool:
    """Capitals count where the folder's system tells them apart: Ann may be somebody else than ann."""
    if is_named(file.name, name):
        return True
    return is_named(file.name.casefold(), name.casefold()) and is_case_blind(file)


def is_case_blind(file: Path) -> bool:
    twin = file.with_name(file.name.swapcase())
    return twin.exists() and twin.samefile(file)


def is_named(file: str, name: str) -> bool:
    """Whether a file belongs to the persona of this name."""
    file, name = (unicodedata.normalize("NFC", one) for one in (file, name))
    own = f"{re.escape(name)}(?:{KEPT})*"  # of who made room for another of that name, more than once perhaps
    if temporary := TEMPORARY.fullmatch(file):
        begun = temporary[1].removeprefix(".")
        cut = len(begun) >= 39  # of 40 letters, the first may be a dot
        return bool(re.fullmatch(rf"{own}(?:-[0-9a-f]{{12}})?", begun)) or (cut and f"{name}-".startswith(begun))
    return bool(re.fullmatch(rf"{own}(?:{EXTENSION}|{BESIDE})|\.{own}{UNFINISHED}", file))


def content_size(file: Path) -> int | None:
    """How many bytes of a .safetensors file are numbers; None where it is none."""
    try:
        with file.open("rb") as opened:
            size = file.stat().st_size - 8 - int.from_bytes(opened.read(8), "little")
    except OSError:
        return None
    return size if size > 0 else None


def content_of(file: Path) -> tuple[int, str] | None:
    """What was learned: the same under another name, with other settings."""
    size = content_size(file)
    if size is None:
        return None
    with file.open("rb") as opened:
        opened.seek(-size, os.SEEK_END)
        return size, hashlib.sha256(opened.read()).hexdigest()


def fingerprint_in(file: Path) -> str:
    """What a .safetensors file says it was learned from; "" where it says nothing."""
    if file.suffix != EXTENSION:
        return ""
    try:
        with file.open("rb") as opened:
            size = int.from_bytes(opened.read(8), "little")
            header = json.loads(opened.read(size)) if size <= LARGEST_HEADER else {}
        return str(header["__metadata__"]["fingerprint"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return ""


def remove(files: Iterable[Path]) -> list[str]:
    """Remove files; what could not be removed, and why."""
    failed = []
    for file in files:
        try:
            file.unlink()
        except OSError as error:
            failed.append(f"{file} could not be removed: {error.strerror or error}.")
    return failed


def shown(file: Path, folders: Iterable[Path], going: set[Path]) -> str:
    """going: what is removed, links resolved."""
    real = file.resolve()
    if file.is_symlink():
        if real in going:
            return f"{file} -> {real}, which goes too"
        return f"{file} -> {real}, which stays: it is only linked from here"
    outside = not any(real.is_relative_to(folder.resolve()) for folder in folders)
    return f"{file}, which lies elsewhere: {real}" if outside else str(file)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m persona_core.forget", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("name", help="as in ann.safetensors, without the ending and without sub-folders")
    parser.add_argument("--folder", type=Path, action="append", help=f"of personas; else {FOLDER}")
    parser.add_argument("--yes", action="store_true", help="remove what is listed without it")
    given = parser.parse_args(arguments)
    name, folders = given.name.strip().removesuffix(EXTENSION), given.folder or [FOLDER]
    if not name or re.search(r"[/\\]", name):
        parser.error("the name is that of a file, without folders: all sub-folders are looked through")
    if missing := [str(folder) for folder in folders if not folder.is_dir()]:
        parser.error(f"there is no folder {', '.join(missing)}: name that of the personas with --folder")
    files = files_of(name, folders)
    print(f"{'Removed' if given.yes else 'What --yes would remove'}:" if files else f"No file of '{name}' is there.")
    going = {file.resolve() for file in files if not file.is_symlink()}
    for file in files:
        print(f"  {shown(file, folders, going)}")
    failed = remove(files) if given.yes else []
    print(ELSEWHERE.format(name=name))
    print(*failed, sep="\n", file=sys.stderr, end="\n" if failed else "")
    return 1 if failed or not files else 0


if __name__ == "__main__":
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # names are of all languages, consoles are not
    sys.exit(main())
