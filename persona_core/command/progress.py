"""How far a run is, on the terminal: a line a person, with the time left."""

import shutil
import sys
import time

from ..progress import Progress as Steps
from .results import FAILED, LEARNED, Result


class Progress:
    """failed: how many rows."""

    def __init__(self, total: int, quiet: bool = False):
        self.total, self.quiet, self.count, self.failed, self.learned = total, quiet, 0, 0, 0
        self.start, self.live = time.monotonic(), not quiet and sys.stdout.isatty()

    def step(self, name: str, progress: Steps) -> None:
        """Of one person's learning; on a terminal only."""
        if self.live:
            planned = f"/{progress.planned}" if progress.planned else ""
            self.show(f"{self.count + 1}/{self.total}  {name}  step {progress.step}{planned}", end="")

    def done(self, result: Result) -> None:
        self.count += 1
        self.failed += result.status == FAILED
        self.learned += result.status == LEARNED
        if result.status == FAILED:
            self.show(f"{self.count}/{self.total}  {result.id}  failed: {result.error}", to=sys.stderr)
        elif not self.quiet:
            took = f"  {result.seconds:.0f} s" if result.seconds is not None else ""
            snr = f"  snr {result.snr:g}" if result.snr is not None else ""
            self.show(f"{self.count}/{self.total}  {result.id}  {result.status}{took}{snr}{self.left()}")

    def left(self) -> str:
        """What is there already took next to no time: what counts is what was learned, and the rest is to be."""
        if not self.learned or self.count == self.total:
            return ""
        seconds = int((time.monotonic() - self.start) / self.learned * (self.total - self.count))
        return f"  {seconds // 3600}:{seconds // 60 % 60:02d}:{seconds % 60:02d} left at most"

    def end(self) -> None:
        if not self.quiet:
            there = self.count - self.failed - self.learned
            self.show(f"{self.learned} learned, {there} there already, {self.failed} failed.")

    def show(self, line: str, end: str = "\n", to=None) -> None:
        """On a terminal, in the place of the line that is not finished."""
        if self.live:
            width = shutil.get_terminal_size().columns - 1
            line = f"\r{line[:width] if not end else line:<{width}}"
        print(line, end=end, flush=True, file=to or sys.stdout)
