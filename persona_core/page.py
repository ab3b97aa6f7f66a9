"""A page on which pictures and lines of text are put, at places in pixels."""

from PIL import Image, ImageDraw, ImageFont

PAPER, INK, GRAY = "#fbfaf7", "#1d1d22", "#74747c"
LINE = 1.3  # of a text's size, from one line to the next


def lines_of(text: str, size: int, width: int) -> list[str]:
    """A text in as many lines as it takes, one at least."""
    font, lines = ImageFont.load_default(size), [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and font.getlength(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def height_of(text: str, size: int, width: int) -> int:
    return len(lines_of(text, size, width)) * round(LINE * size)


class Page:
    def __init__(self, width: int, height: int):
        self.image = Image.new("RGB", (width, height), PAPER)
        self.pen = ImageDraw.Draw(self.image)

    def picture(self, picture: Image.Image, x: int, y: int) -> None:
        self.image.paste(picture, (x, y))

    def text(self, text: str, x: int, y: int, size: int, colour: str = INK, width: int = 10_000) -> int:
        """In as many lines as it takes; returns where the next line would be."""
        for line in lines_of(text, size, width):
            self.pen.text((x, y), line, colour, ImageFont.load_default(size))
            y += round(LINE * size)
        return y
