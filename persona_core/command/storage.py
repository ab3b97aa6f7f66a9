"""Bytes by path or by URL of an object store, as fsspec knows them: "photos/ann.png", "s3://bucket/ann.png"."""

import os
from pathlib import Path, PurePosixPath

import fsspec

from ..files import QUOTED, shown


class NotReadable(ValueError):
    """A file that is not there, or cannot be read."""


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
    """Raises NotReadable with a sentence."""
    try:
        if is_url(place):
            with fsspec.open(place, "rb") as file:
                return file.read()
        return Path(place).expanduser().read_bytes()
    except Exception as error:  # each object store has its own
        raise NotReadable(f"{shown(place, QUOTED)} cannot be read: {reason(error)}.") from error


def reason(error: Exception) -> str:
    told = error.strerror if isinstance(error, OSError) else ""
    return (told or " ".join(str(error).split()) or type(error).__name__)[:QUOTED].rstrip(".")


def names_in(folder: str) -> list[str]:
    """The files in a folder, each with the folder before it. Raises NotReadable."""
    try:
        if is_url(folder):
            system, path = fsspec.core.url_to_fs(folder)
            there = [PurePosixPath(one["name"]).name for one in system.ls(path, detail=True) if one["type"] == "file"]
            return sorted(f"{folder.rstrip('/')}/{name}" for name in there)
        return sorted(entry.path for entry in os.scandir(Path(folder).expanduser()) if entry.is_file())
    except Exception as error:
        raise NotReadable(f"The folder {shown(folder, QUOTED)} cannot be read: {reason(error)}.") from error


def is_folder(place: str) -> bool:
    if is_url(place):
        system, path = fsspec.core.url_to_fs(place)
        return system.isdir(path)
    return Path(place).expanduser().is_dir()
