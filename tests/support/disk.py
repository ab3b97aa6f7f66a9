"""What the disk under a folder does, which is not told by the system's name: it is asked."""

import errno
import os
from pathlib import Path


def tells_apart(folder: Path, one: str, other: str) -> bool:
    """Whether these are two names there, not one in other capitals or composed otherwise."""
    (folder / one).touch()
    try:
        return not (folder / other).exists()
    finally:
        (folder / one).unlink()


def has_links(folder: Path) -> bool:
    """Whether who runs the tests may make symbolic links there."""
    try:
        (link := folder / "link").symlink_to(folder)
    except OSError:
        return False
    link.unlink()
    return True


def says_too_long(folder: Path) -> bool:
    """Whether a path that is too long is refused as such."""
    try:
        os.stat(folder / "/".join(["d" * 200] * 30))
    except OSError as error:
        return error.errno == errno.ENAMETOOLONG
    return False
