"""Files that are written whole or not at all, and read without running anything that is in them."""

import os
import tempfile
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import safetensors
from torch import Tensor

# A persona's has some MB at most today (a whole mapper) and some KB of header; unfinished learning's some tens of MB,
# and a MB of losses in its header.
LARGEST_FILE, LARGEST_HEADER = 2**28, 2**22
LONGEST = 10_000  # letters of a text in it
QUOTED = 200  # letters of what somebody typed, in an error
TEMPORARY = ".tmp"  # the ending of what is being written
Shape = tuple[int, ...]


class PersonaFileError(ValueError):
    """A file that is no persona, or is damaged, or comes from a later version."""


def read_safetensors(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Metadata and tensors of a .safetensors file. Raises PersonaFileError, OSError."""
    with opened(path) as file:
        return file.metadata() or {}, tensors_in(file)


def tensors_in(file: safetensors.safe_open) -> dict[str, Tensor]:
    return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def shapes_in(file: safetensors.safe_open) -> dict[str, Shape]:
    """Of the tensors, none of which is read."""
    return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118


def read_metadata(path: Path) -> dict[str, str]:
    """Only the metadata, which lie at the file's beginning. Raises as `read_safetensors`."""
    with opened(path) as file:
        return file.metadata() or {}


@contextmanager
def opened(path: Path) -> Iterator[safetensors.safe_open]:
    try:
        with path.open("rb") as file:
            size, header = path.stat().st_size, int.from_bytes(file.read(8), "little")
    except FileNotFoundError:
        raise FileNotFoundError(f"There is no file '{path}'.") from None
    except OSError as error:
        raise PersonaFileError(f"{called(path)} is there, but cannot be read ({error.strerror or error}).") from error
    if size > LARGEST_FILE or LARGEST_HEADER < header <= size:  # one that is longer than its file is none
        raise PersonaFileError(f"{called(path)} is too large to be a persona ({size} bytes, {header} of them header).")
    try:
        with safetensors.safe_open(path, framework="pt") as opened_file:
            yield opened_file
    except safetensors.SafetensorError as error:
        raise PersonaFileError(
            f"{called(path)} is no readable .safetensors file ({shown(str(error), 100)})."
        ) from error


def called(path: Path) -> str:
    """A file's name as an error quotes it."""
    return shown(path.name, 80)


def shown(value: object, most: int = 40) -> str:
    """What a file says, to be quoted: escaped and short."""
    text = repr(value)
    return text if len(text) <= most else f"{text[:most]}..."


def line(text: str, most: int = LONGEST) -> str:
    """One line, or ValueError. What else is in it is somebody's language: joined emoji and soft hyphens are not
    "printable"."""
    if len(text) > most or any(unicodedata.category(one) in ("Cc", "Cs") for one in text):
        raise ValueError(f"is no line of text ({shown(text)})")
    return text


def write_whole(path: Path, content: bytes) -> Path:
    """Write a file beside its place and rename it there, so that what was at `path` is never half replaced."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem[:40]}-", suffix=TEMPORARY)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return path
