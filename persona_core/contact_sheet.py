"""Contact sheets: one person's pictures, a row a prompt, a column a seed."""

from collections.abc import Sequence

from PIL import Image

from .page import GRAY, Page, height_of

TILE = 256  # pixels of a picture's longer side
MARGIN, GAP = 32, 16
TITLE, TEXT, FINE = 32, 18, 14
NARROWEST = 480  # so that prompts do not run down the page


def contact_sheet(title: str, note: str, rows: Sequence[tuple[str, Sequence[Image.Image]]]) -> Image.Image:
    """rows: a prompt and its pictures, as `tile` makes them, all of one size."""
    width, height = rows[0][1][0].size
    inner = max(max(len(pictures) for _, pictures in rows) * (width + GAP) - GAP, NARROWEST)
    y = MARGIN + height_of(title, TITLE, inner) + height_of(note, FINE, inner) + GAP
    heights = [height + GAP // 2 + height_of(prompt, TEXT, inner) + GAP for prompt, _ in rows]
    page = Page(inner + 2 * MARGIN, y + sum(heights) + MARGIN - GAP)
    page.text(note, MARGIN, page.text(title, MARGIN, MARGIN, TITLE, width=inner), FINE, GRAY, inner)
    for (prompt, pictures), below in zip(rows, heights, strict=True):
        for column, picture in enumerate(pictures):
            page.picture(picture, MARGIN + column * (width + GAP), y)
        page.text(prompt, MARGIN, y + height + GAP // 2, TEXT, width=inner)
        y += below
    return page.image


def tile(picture: Image.Image) -> Image.Image:
    """A picture as large as it stands on the sheet."""
    scale = TILE / max(picture.size)
    size = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
    return picture.convert("RGB").resize(size, Image.Resampling.LANCZOS)
