"""One person's painted pictures on disk: NAME/0001.png and so on, beside their contact sheet NAME.png.

A picture says in its file what it was painted from, under a key: so it is known again, whatever it is called.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from PIL import Image

from ..contact_sheet import contact_sheet, tile
from ..files import write_whole
from ..provenance import as_json, marked_png, png_texts

TEXT = "painting"  # what a picture was painted from, as JSON
KEY = "key"
HEAD = 2**19  # bytes at a file's beginning, in which its texts are: two of files.LONGEST as JSON, and a signature


class Gallery:
    """sign: given each file as it would be; None: they are not signed."""

    def __init__(self, out: Path, name: str, sign: Callable[[bytes], bytes] | None = None):
        self.name, self.folder, self.sheet, self.sign = name, out / name, out / f"{name}.png", sign

    def check(self) -> None:
        """Raise ValueError where somebody else's picture has the sheet's place, as beside a persona's file."""
        if self.sheet.is_file() and not key_in(self.sheet):
            raise ValueError(f"{self.sheet} is there and is no contact sheet. Choose another folder with --out.")

    def pictures(self) -> dict[str, Path]:
        """By their keys."""
        found: dict[str, Path] = {}
        for file in sorted(self.folder.glob("[!.]*.png")):
            if key := key_in(file):
                found.setdefault(key, file)
        return found

    def add(self, picture: Image.Image, texts: Mapping[str, object]) -> None:
        """Write a picture under the next number. texts: of its file, with its key. Raises OSError."""
        numbers = (int(file.stem) for file in self.folder.glob("*.png") if file.stem.isdecimal())
        self.write(self.folder / f"{max(numbers, default=0) + 1:04}.png", picture, texts)

    def draw(self, key: str, note: str, rows: Sequence[tuple[str, Sequence[Path]]]) -> None:
        """The sheet, unless it is there. Raises OSError."""
        if self.sheet.is_file() and key_in(self.sheet) == key:
            return
        tiles = [(prompt, [opened(file) for file in files]) for prompt, files in rows]
        self.write(self.sheet, contact_sheet(self.name, note, tiles), {TEXT: {KEY: key}})

    def write(self, place: Path, picture: Image.Image, texts: Mapping[str, object]) -> None:
        content = marked_png(picture, {name: json.dumps(value) for name, value in texts.items()})
        write_whole(place, self.sign(content) if self.sign else content)


def painted_from(file: Path) -> Mapping[str, object]:
    """What a picture's file says that it was painted from; nothing, where it says nothing."""
    with file.open("rb") as content:
        said = as_json(png_texts(content.read(HEAD)).get(TEXT))
    return said if isinstance(said, dict) else {}


def key_in(file: Path) -> str:
    key = painted_from(file).get(KEY)
    return key if isinstance(key, str) else ""


def opened(file: Path) -> Image.Image:
    with Image.open(file) as picture:
        return tile(picture)
