"""Who learns a persona: one of several commands on one folder."""

import os
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

PAUSE = 1.0  # seconds between two looks whether another command is done
LOCK = ".lock"  # the ending, beside the file of unfinished learning


class Claim:
    """The right to learn what `unfinished` is the file of; whoever is killed loses it. A file marks it meanwhile."""

    def __init__(self, unfinished: Path):
        self.unfinished, self.path = unfinished, unfinished.with_suffix(LOCK)
        self.lock = FileLock(self.path, mode=0o666)

    def take(self) -> bool:
        """Whether it is ours now. Raises OSError where no file can be written."""
        while True:
            try:
                self.lock.acquire(timeout=0)
            except Timeout:
                return False
            if self.is_marked():
                return True
            self.lock.release()  # of a file that whoever had it took away meanwhile

    def tidy(self) -> None:
        """Take away what whoever was killed left, once there is nothing to learn."""
        if (self.path.exists() or self.unfinished.exists()) and self.take():
            self.unfinished.unlink(missing_ok=True)
            self.give_back()

    def is_marked(self) -> bool:
        handle = self.lock._context.lock_file_fd
        with suppress(OSError):
            return handle is not None and os.path.samestat(os.fstat(handle), os.stat(self.path))
        return False

    def give_back(self) -> None:
        """If it is ours: whoever has it next has a file of the same name."""
        if not self.lock.is_locked:
            return
        with suppress(OSError):  # Windows removes no file that is open
            self.path.unlink()
        self.lock.release()
