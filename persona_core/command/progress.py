"""How far a run is, on the terminal: a line a person, with the time left."""

import shutil
import sys
import time
from typing import TYPE_CHECKING

from ..letters import one_line
from ..progress import Progress as Steps
from .results import FAILED, LEARNED, Result

if TYPE_CHECKING:
    from .painting import Painted


class Progress:
    """made: the status of whom was worked at; failed: how many were not to be had."""

    def __init__(self, total: int, quiet: bool = False, made: str = LEARNED):
        self.total, self.quiet, self.made = total, quiet, made
        self.count, self.failed, self.worked = 0, 0, 0
        self.start, self.live = time.monotonic(), not quiet and sys.stdout.isatty()

    def step(self, name: str, progress: Steps) -> None:
        """Of one person's learning."""
        self.at(name, f"step {progress.step}" + (f"/{progress.planned}" if progress.planned else ""))

    def at(self, name: str, said: str) -> None:
        """Where somebody is just now; on a terminal only."""
        if self.live:
            self.show(f"{self.count + 1}/{self.total}  {name}  {said}", end="")

    def done(self, outcome: "Result | Painted") -> None:
        self.count += 1
        self.failed += outcome.status == FAILED
        self.worked += outcome.status == self.made
        if outcome.status == FAILED:
            self.show(f"{self.count}/{self.total}  {outcome.id}  failed: {outcome.error}", to=sys.stderr)
        elif not self.quiet:
            took = f"  {outcome.seconds:.0f} s" if outcome.seconds is not None else ""
            more = f"  {outcome.detail}" if outcome.detail else ""
            self.show(f"{self.count}/{self.total}  {outcome.id}  {outcome.status}{took}{more}{self.left()}")

    def left(self) -> str:
        """What is there already took next to no time: what counts is who was worked at, and the rest is to be."""
        if not self.worked or self.count == self.total:
            return ""
        seconds = int((time.monotonic() - self.start) / self.worked * (self.total - self.count))
        return f"  {seconds // 3600}:{seconds // 60 % 60:02d}:{seconds % 60:02d} left at most"

    def end(self) -> None:
        if not self.quiet:
            there = self.count - self.failed - self.worked
            self.show(f"{self.worked} {self.made}, {there} there already, {self.failed} failed.")

    def show(self, line: str, end: str = "\n", to=None) -> None:
        """On a terminal, in the place of the line that is not finished."""
        line = one_line(line)
        if self.live:
            width = shutil.get_terminal_size().columns - 1
            line = f"\r{line[:width] if not end else line:<{width}}"
        print(line, end=end, flush=True, file=to or sys.stdout)
