"""How a persona's file is called that made room for another of its name: ann.0123abcd, beside ann."""

import re
from collections.abc import Iterator
from itertools import count
from pathlib import Path

EXTENSION = ".safetensors"
DAMAGED = "damaged"  # in the place of a fingerprint
KEPT = rf"\.(?:[0-9a-f]{{8}}|{DAMAGED})(?:-[0-9]+)?"  # what is put behind the name; web/js/personas.js looks for it too


def kept_names(name: str, fingerprint: str) -> Iterator[str]:
    """What it may be called, without the extension, best first: the next where another persona has that name."""
    own = f"{name}.{short(fingerprint)}"
    yield own
    yield from (f"{own}-{number}" for number in count(2))


def is_of(file: str, name: str, fingerprint: str) -> bool:
    """Whether the persona of this name and fingerprint may be in a file that is called so."""
    own = rf"{re.escape(name)}(?:\.{short(fingerprint)}(?:-[0-9]+)?)?{EXTENSION}"
    return bool(re.fullmatch(own, file))


def places_of(folder: Path, name: str, fingerprint: str) -> Iterator[Path]:
    """Where it may lie. What else is in the folder is looked through only if it is not at the first place."""
    yield (own := folder / f"{name}{EXTENSION}")  # also where the folder's system has it in other capitals
    kept = (file for file in folder.glob(f"*{EXTENSION}") if is_of(file.name, name, fingerprint))
    yield from sorted(file for file in kept if file != own)


def short(fingerprint: str) -> str:
    return fingerprint[:8] if re.fullmatch("[0-9a-f]{8,}", fingerprint) else DAMAGED  # a file may say anything
