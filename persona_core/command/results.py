"""What became of each row: one line an id in a CSV file, written as it goes."""

import csv
import io
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import BinaryIO

from filelock import FileLock

from ..files import LONGEST, QUOTED, shown, write_whole
from ..letters import one_line

LEARNED, THERE, FAILED = "learned", "there", "failed"
LOCK = ".results.lock"
SECONDS = 60  # to wait for whoever writes there
FORMULA = re.compile("'*[=+@-]")  # how spreadsheets know one, but for the apostrophe, which is how they know a text
TEXTS = "id", "error"  # columns of what somebody else may have written


class OtherTable(ValueError):
    """A file that is no table of results, and is left as it is."""


@dataclass(frozen=True)
class Result:
    """status: LEARNED now, THERE already, or FAILED. snr: signal to noise of one picture, if it was measured. passes:
    pictures through the UNet. seconds: of learning. score: how like the painted faces are; share:
    how far that is from strangers, 0, to the photo itself, 1. error: a sentence, also on what is wrong with who is
    learned."""

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
        figures = (f"{name} {value:g}" for name, value in said.items() if value is not None)
        return "  ".join(filter(None, [*figures, self.error]))

    def cells(self) -> dict[str, str]:
        """In one line, so that a torn one can be told."""
        return {name: "" if value is None else printable(str(value)) for name, value in asdict(self).items()}


COLUMNS = [one.name for one in fields(Result)]


class Results:
    """A table of results. Several commands may write into it at once.

    Raises OSError where it cannot be written, OtherTable where something else is there.
    """

    def __init__(self, path: Path):
        check_ours(path)
        self.path = path
        self.last: dict[str, dict[str, str]] = {}
        self.seen: tuple[int, int, int] | None = None
        self.settle()

    def add(self, result: Result) -> None:
        """Write a line, to be found whatever happens next. What is THERE keeps its line, which says how it came."""
        with self.alone():
            cells = result.cells()
            if self.seen != state_of(self.path):  # another command has written there
                self.look()
            before = self.last.get(cells["id"])
            if before and result.status == THERE and is_told(before, cells):
                new = {name: cells[name] or before[name] for name in ("score", "share")}
                new["error"] = cells["error"] if cells["score"] else before["error"] or cells["error"]
                if new.items() <= before.items():
                    return
                cells = {**before, **new}
            self.last[cells["id"]] = cells
            with self.path.open("r+b") as file:
                mend(file)
                file.write(as_csv([cells]))
                file.flush()
                os.fsync(file.fileno())
            self.seen = state_of(self.path)

    def settle(self) -> None:
        """Leave one line an id, the last, and mend what a killed writer left."""
        with self.alone():
            self.look()
            write_whole(self.path, as_csv([dict(zip(COLUMNS, COLUMNS)), *self.last.values()]))
            self.seen = state_of(self.path)

    def look(self) -> None:
        self.last = {line["id"]: line for line in lines_in(self.path)}

    @contextmanager
    def alone(self) -> Iterator[None]:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(self.path.with_name(LOCK), timeout=SECONDS, mode=0o666):
            yield


def is_told(before: Mapping[str, str], now: Mapping[str, str]) -> bool:
    return before["status"] != FAILED and before["fingerprint"] == now["fingerprint"]


def printable(text: str) -> str:
    """In one line that changes nothing on a terminal, and is not without end."""
    return one_line(re.sub(r"\s*[\r\n\v\f\x1c-\x1e\x85\u2028\u2029]+\s*", " ", text[:LONGEST]).strip())


def state_of(path: Path) -> tuple[int, int, int] | None:
    """Another one once somebody has written there."""
    try:
        told = path.stat()
    except FileNotFoundError:
        return None
    return told.st_ino, told.st_size, told.st_mtime_ns


def as_csv(lines: Iterable[Mapping[str, str]]) -> bytes:
    text = io.StringIO()
    marked = ({**line, **{name: f"'{line[name]}" for name in TEXTS if FORMULA.match(line[name])}} for line in lines)
    csv.DictWriter(text, COLUMNS, lineterminator="\n").writerows(marked)
    return text.getvalue().encode()


def check_ours(path: Path) -> None:
    """Raise OtherTable for what may be anything but results; earlier versions had fewer columns."""
    if path.is_dir():
        raise OtherTable(f"{shown(str(path), QUOTED)} is a folder. Name a file for the results.")
    if path.is_file() and (content := path.read_bytes()):
        first = content.partition(b"\n")[0].decode("utf-8-sig", errors="replace").strip()
        if not {"id", "status"} <= set(first.split(",")) <= set(COLUMNS):
            raise OtherTable(
                f"{shown(str(path), QUOTED)} is no table of results, and would be lost. Say with --results where to "
                "write them."
            )


def lines_in(path: Path) -> list[dict[str, str]]:
    """Those that are whole."""
    check_ours(path)
    if not path.is_file():
        return []
    whole = whole_lines(path.read_bytes()).decode("utf-8-sig", errors="replace")
    reader = csv.DictReader(io.StringIO(whole, newline=""))
    found = [{name: line.get(name) or "" for name in COLUMNS} for line in reader if line.get("id")]
    return [{**line, **{name: unmarked(line[name]) for name in TEXTS}} for line in found]


def unmarked(text: str) -> str:
    return text[1:] if text.startswith("'") and FORMULA.match(text) else text


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
