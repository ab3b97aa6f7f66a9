"""Files that are written whole or not at all, and read without running anything that is in them."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import safetensors
from torch import Tensor


class PersonaFileError(ValueError):
    """A file that is no persona, or is damaged, or comes from a later version."""


def read_safetensors(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Metadata and tensors of a .safetensors file. Raises PersonaFileError, FileNotFoundError."""
    with opened(path) as file:
        return file.metadata() or {}, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def read_metadata(path: Path) -> dict[str, str]:
    """Only the metadata, which lie at the file's beginning. Raises as `read_safetensors`."""
    with opened(path) as file:
        return file.metadata() or {}


@contextmanager
def opened(path: Path) -> Iterator[safetensors.safe_open]:
    if not path.is_file():
        raise FileNotFoundError(f"There is no file '{path}'.")
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            yield file
    except safetensors.SafetensorError as error:
        raise PersonaFileError(f"'{path.name}' is no readable .safetensors file ({error}).") from error


def write_whole(path: Path, content: bytes) -> Path:
    """Write a file beside its place and rename it there, so that what was at `path` is never half replaced."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=".tmp")
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
