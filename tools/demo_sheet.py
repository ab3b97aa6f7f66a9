"""The demo's sheet: the photo, the person in every prompt and beside somebody, and below what the plain word gives."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from PIL import Image
from torch import Tensor

from persona_core.page import GRAY, INK, LINE, Page
from persona_core.pixels import to_pil

GOOD, BAD = "#24803f", "#c03528"
# Pixels: round the sheet, between two pictures, of the three sizes of pictures (LARGE: twice as they are), of a line of
# text.
MARGIN, GAP = 48, 24
PHOTO, LARGE, SMALL = 384, 256, 160
HEADLINE, TITLE, TEXT, FINE = 40, 24, 18, 16

WORLD = "A made-up world, 128 pixels wide; the model had never seen these two."
FIGURES = "Likeness: 0 = a stranger, 1 = the same person drawn again."


@dataclass(frozen=True)
class Painted:
    """A picture [3, H, W] in 0..1, its prompt, and what was measured of it."""

    prompt: str
    picture: Tensor
    likeness: float  # 0: a stranger, 1: the same person drawn again; of two people the mean
    as_asked: bool


def summary(row: Sequence[Painted]) -> str:
    likeness, as_asked = mean(one.likeness for one in row), sum(one.as_asked for one in row)
    return f"likeness {likeness:.2f}, {as_asked} of {len(row)} as asked"


class Sheet(Page):
    def square(self, picture: Tensor, x: int, y: int, size: int) -> None:
        """A picture [3, H, W], enlarged or reduced."""
        self.picture(to_pil(picture.movedim(0, -1)).resize((size, size), Image.Resampling.BICUBIC), x, y)

    def painted(self, one: Painted, x: int, y: int, size: int, text: int) -> None:
        """A picture, with its prompt and its figures below."""
        self.square(one.picture, x, y, size)
        y = self.text(one.prompt, x, y + size + 8, text, width=size + GAP // 2)
        verdict, colour = ("as asked", GOOD) if one.as_asked else ("not as asked", BAD)
        self.text(f"{one.likeness:.2f}   {verdict}", x, y + 2, text, colour)


def draw(
    photo: Tensor, learned: Sequence[Painted], plain: Sequence[Painted], other: Tensor, two: Painted, path: Path
) -> None:
    """Write the sheet.

    photo, other: [3, H, W]. learned, plain: the same prompts with the persona and with the plain word. two: both people
    of the photos in one picture.
    """
    columns = len(learned) // 2
    step = LARGE + GAP
    right = MARGIN + PHOTO + 2 * GAP  # where the columns begin
    width = right + columns * step + GAP + LARGE + MARGIN
    top = MARGIN + round(LINE * HEADLINE) + GAP
    row = LARGE + 8 + round(LINE * TEXT * 4)  # three lines of prompt, one of figures
    below = top + 2 * row + GAP
    strip = below + round(LINE * TITLE) + GAP // 2
    sheet = Sheet(width, strip + SMALL + 8 + round(LINE * FINE * 5) + MARGIN)

    sheet.text("One photo, learned in a word", MARGIN, MARGIN, HEADLINE)
    sheet.square(photo, MARGIN, top, PHOTO)
    y = sheet.text("All that was known of <ann>", MARGIN, top + PHOTO + 8, TITLE)
    y = sheet.text(f"The pictures: {summary(learned)}", MARGIN, y, TEXT)
    y = sheet.text(f"With the plain word: {summary(plain)}", MARGIN, y, TEXT)
    sheet.text(f"{WORLD} {FIGURES}", MARGIN, y + 4, FINE, GRAY, PHOTO)
    for index, one in enumerate(learned):
        down, across = divmod(index, columns)
        sheet.painted(one, right + across * step, top + down * row, LARGE, TEXT)

    last = right + columns * step + GAP
    sheet.painted(two, last, top, LARGE, TEXT)
    sheet.square(other, last, top + row, SMALL)
    sheet.text("All that was known of <bob>", last, top + row + SMALL + 8, FINE, INK, LARGE)

    sheet.text("Without it: the same prompts and the same noise, with the plain word", MARGIN, below, TITLE)
    step = (width - 2 * MARGIN - SMALL) / (len(plain) - 1)
    for index, one in enumerate(plain):
        sheet.painted(one, MARGIN + round(index * step), strip, SMALL, FINE)
    path.parent.mkdir(exist_ok=True)
    sheet.image.save(path)
