"""Which personas a command is given: files, folders of them, patterns."""

import glob
import re
from collections.abc import Sequence
from pathlib import Path

from ..files import QUOTED, shown
from ..kept import EXTENSION, KEPT
from .storage import path_of


def files_in(places: Sequence[str]) -> list[Path]:
    """Those that are named, in folders that are, or by a pattern; of a folder without what had to make room for another
    of its name. Raises ValueError with a sentence."""
    found: list[Path] = []
    for place in places:
        path = path_of(place)
        if path.is_dir():
            inside = sorted(glob.glob(f"{glob.escape(str(path))}/*{EXTENSION}"))
            inside = [file for file in inside if not re.search(f"{KEPT}{re.escape(EXTENSION)}$", file)]
            if not inside:
                raise ValueError(f"There is no persona in the folder {shown(place, QUOTED)}.")
        else:
            inside = [] if path.exists() else sorted(glob.glob(str(path)))  # Windows leaves patterns to us
        found += [Path(file) for file in inside or [str(path)]]
    return found
