"""Bytes by path or by URL of an object store, as fsspec knows them: "photos/ann.png", "s3://bucket/ann.png"."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath

import fsspec

from ..files import QUOTED, shown


class Unreachable(ValueError):
    """A file or folder that is not there, or cannot be read or written."""


def is_url(place: str) -> bool:
    return "://" in place


def beside(table: str, place: str) -> str:
    """A place that a table names: relative ones begin where the table is."""
    if is_url(place) or path_of(place).is_absolute():
        return place
    if is_url(table):
        return f"{table.rpartition('/')[0]}/{place}"
    return str(Path(table).absolute().parent / place)


def path_of(place: str) -> Path:
    """From somebody's home, if it says so; where nobody is called "ann.png", "~ann.png" is a file's name."""
    return Path(os.path.expanduser(place))


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
                content = path_of(place).read_bytes()
        except FileNotFoundError:
            content = None
    return content


def write_bytes(url: str, content: bytes) -> None:
    """Raises Unreachable with a sentence."""
    with or_a_sentence(f"{shown(url, QUOTED)} cannot be written"):
        system, path = fsspec.core.url_to_fs(url)
        system.pipe_file(path, content)


def check_writable(url: str) -> None:
    """Write something small into a folder, and remove it. Raises Unreachable."""
    tried = f"{url}/.persona-was-here"
    write_bytes(tried, b"")
    system, path = fsspec.core.url_to_fs(tried)
    with suppress(Exception):  # who may write may yet not remove
        system.rm_file(path)


@contextmanager
def or_a_sentence(what: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # each object store has its own
        raise Unreachable(f"{what}: {reason(error)}.") from error


def reason(error: Exception) -> str:
    told = error.strerror if isinstance(error, OSError) else ""
    return (told or " ".join(str(error).split()) or type(error).__name__)[:QUOTED].rstrip(".")


def names_in(folder: str) -> tuple[list[str], list[str]]:
    """The files and the folders in a folder, each with the whole way to it. Raises Unreachable."""
    with or_a_sentence(f"The folder {shown(folder, QUOTED)} cannot be read"):
        if is_url(folder):
            system, path = fsspec.core.url_to_fs(folder)
            there = [(one["name"], one["type"] == "directory") for one in system.ls(path, detail=True)]
            found = [(f"{folder.rstrip('/')}/{PurePosixPath(name).name}", is_dir) for name, is_dir in there]
        else:
            entries = [entry for entry in os.scandir(path_of(folder).absolute()) if entry.is_file() or entry.is_dir()]
            found = [(entry.path, entry.is_dir()) for entry in entries]
    found.sort()
    return [place for place, is_dir in found if not is_dir], [place for place, is_dir in found if is_dir]


def is_folder(place: str) -> bool:
    """Raises Unreachable."""
    with or_a_sentence(f"{shown(place, QUOTED)} cannot be read"):
        if is_url(place):
            system, path = fsspec.core.url_to_fs(place)
            folder = bool(system.isdir(path))
        else:
            folder = path_of(place).is_dir()
    return folder
