"""Bytes by path or by URL of an object store, as fsspec knows them: "photos/ann.png", "s3://bucket/ann.png"."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

import fsspec

from ..files import QUOTED, shown


class Unreachable(ValueError):
    """A file or folder that is not there, or cannot be read or written."""


def is_url(place: str) -> bool:
    return "://" in place


def beside(table: str, place: str) -> str:
    """A place that a table names: relative ones begin where the table is."""
    if is_url(place) or Path(place).expanduser().is_absolute():
        return place
    if is_url(table):
        return f"{table.rpartition('/')[0]}/{place}"
    return str(Path(table).absolute().parent / place)


def read_bytes(place: str) -> bytes:
    """Raises Unreachable with a sentence."""
    if (content := read_if_there(place)) is None:
        raise Unreachable(f"There is no {shown(place, QUOTED)}.")
    return content


def read_if_there(place: str) -> bytes | None:
    """Raises Unreachable for what is there and cannot be read, or a store that does not answer."""
    with or_a_sentence(f"{shown(place, QUOTED)} cannot be read"):
        try:
            if is_url(place):
                system, path = fsspec.core.url_to_fs(place)
                content = system.cat_file(path)
            else:
                content = Path(place).expanduser().read_bytes()
        except FileNotFoundError:
            content = None
    return content


def write_bytes(url: str, content: bytes) -> None:
    """Raises Unreachable with a sentence."""
    with or_a_sentence(f"{shown(url, QUOTED)} cannot be written"):
        system, path = fsspec.core.url_to_fs(url)
        system.pipe_file(path, content)


@contextmanager
def or_a_sentence(what: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # each object store has its own
        raise Unreachable(f"{what}: {reason(error)}.") from error


def reason(error: Exception) -> str:
    told = error.strerror if isinstance(error, OSError) else ""
    return (told or " ".join(str(error).split()) or type(error).__name__)[:QUOTED].rstrip(".")


def names_in(folder: str) -> list[str]:
    """The files in a folder, each with the folder before it. Raises Unreachable."""
    with or_a_sentence(f"The folder {shown(folder, QUOTED)} cannot be read"):
        if is_url(folder):
            system, path = fsspec.core.url_to_fs(folder)
            there = [PurePosixPath(one["name"]).name for one in system.ls(path, detail=True) if one["type"] == "file"]
            found = [f"{folder.rstrip('/')}/{name}" for name in there]
        else:
            found = [entry.path for entry in os.scandir(Path(folder).expanduser()) if entry.is_file()]
    return sorted(found)


def is_folder(place: str) -> bool:
    """Raises Unreachable."""
    with or_a_sentence(f"{shown(place, QUOTED)} cannot be read"):
        if is_url(place):
            system, path = fsspec.core.url_to_fs(place)
            folder = bool(system.isdir(path))
        else:
            folder = Path(place).expanduser().is_dir()
    return folder
