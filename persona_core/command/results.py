"""What became of each row: one line an id in a CSV file, written as it goes."""

import csv
import io
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import BinaryIO

from filelock import FileLock

from ..files import write_whole

LEARNED, THERE, FAILED = "learned", "there", "failed"
LOCK = ".results.lock"
SECONDS = 60  # to wait for whoever writes there


@dataclass(frozen=True)
class Result:
    """status: LEARNED now, THERE already, or FAILED. snr: signal to noise of one picture, if it was measured. passes:
    pictures through the UNet. seconds: of learning. score: how like the painted faces are; share:
    how far that is from strangers, 0, to the photo itself, 1. error: a sentence."""

    id: str
    status: str
    file: str = ""
    fingerprint: str = ""
    snr: float | None = None
    steps: int | None = None
    passes: int | None = None
    seconds: float | None = None
    score: float | None = None
    share: float | None = None
    error: str = ""

    @property
    def detail(self) -> str:
        said = {"snr": self.snr, "score": self.score}
        return "  ".join(f"{name} {value:g}" for name, value in said.items() if value is not None)

    def cells(self) -> dict[str, str]:
        """In one line, so that a torn one can be told."""
        return {name: "" if value is None else " ".join(str(value).split()) for name, value in asdict(self).items()}


COLUMNS = [one.name for one in fields(Result)]


class Results:
    """A table of results. Several commands may write into it at once.

    Raises OSError where it cannot be written.
    """

    def __init__(self, path: Path):
        self.path = path
        self.settle()

    def add(self, result: Result) -> None:
        """Write a line, to be found whatever happens next. What is THERE keeps its line, which says how it came."""
        with self.alone():
            cells = result.cells()
            before = self.last.get(result.id)
            if before and result.status == THERE and is_told(before, cells):
                scores = {name: cells[name] or before[name] for name in ("score", "share")}
                if scores.items() <= before.items():
                    return
                cells = {**before, **scores}
            self.last[result.id] = cells
            with self.path.open("r+b") as file:
                mend(file)
                file.write(as_csv([cells]))
                file.flush()
                os.fsync(file.fileno())

    def settle(self) -> None:
        """Leave one line an id, the last, and mend what a killed writer left."""
        with self.alone():
            self.last = {line["id"]: line for line in lines_in(self.path)}
            write_whole(self.path, as_csv([dict(zip(COLUMNS, COLUMNS)), *self.last.values()]))

    @contextmanager
    def alone(self) -> Iterator[None]:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(self.path.with_name(LOCK), timeout=SECONDS, mode=0o666):
            yield


def is_told(before: Mapping[str, str], now: Mapping[str, str]) -> bool:
    return before["status"] != FAILED and before["fingerprint"] == now["fingerprint"]


def as_csv(lines: Iterable[Mapping[str, str]]) -> bytes:
    text = io.StringIO()
    csv.DictWriter(text, COLUMNS, lineterminator="\n").writerows(lines)
    return text.getvalue().encode()


def lines_in(path: Path) -> list[dict[str, str]]:
    """Those that are whole."""
    if not path.is_file():
        return []
    whole = whole_lines(path.read_bytes()).decode("utf-8", errors="replace")
    reader = csv.DictReader(io.StringIO(whole, newline=""))
    return [{name: line.get(name) or "" for name in COLUMNS} for line in reader if line.get("id")]


def mend(file: BinaryIO) -> None:
    """Take away part of a line, which who was killed while writing left, and go to the end."""
    if file.seek(0, os.SEEK_END):
        file.seek(-1, os.SEEK_END)
        if file.read() != b"\n":
            file.seek(0)
            file.truncate(len(whole_lines(file.read())))
            file.seek(0, os.SEEK_END)


def whole_lines(content: bytes) -> bytes:
    return content[: content.rfind(b"\n") + 1]
