"""What the demo shows: its sheet and the figures it prints."""

import numpy as np
import torch
from PIL import Image

from tools.demo_sheet import LARGE, PHOTO, SMALL, Painted, draw, summary
from tools.demo_small_world import tell


def plain_colour(*colour: int) -> torch.Tensor:
    return torch.tensor(colour, dtype=torch.float)[:, None, None].expand(3, 32, 32) / 255


def painted(red: int, likeness: float) -> list[Painted]:
    return [Painted(f"prompt {n}", plain_colour(red, 10 * n, 77), likeness, n < 6) for n in range(8)]


def test_the_sheet_holds_the_photo_and_both_rows(tmp_path):
    file = tmp_path / "demo/sheet.png"
    draw(plain_colour(1, 2, 3), painted(200, 0.9), painted(100, 0.1), file)
    sheet = np.asarray(Image.open(file))

    def size(*colour: int) -> int:
        return (sheet == colour).all(-1).sum()

    assert size(1, 2, 3) == PHOTO**2
    for n in range(8):
        assert (size(200, 10 * n, 77), size(100, 10 * n, 77)) == (LARGE**2, SMALL**2)


def test_figures_are_the_mean_and_the_count(capsys):
    learned, plain = painted(200, 0.9), painted(100, 0.1)
    assert summary(learned[4:]) == "likeness 0.90, 2 of 4 as asked"
    tell(plain[0], learned[7])
    assert capsys.readouterr().out.split() == ["0.10", "0.90", "yes", "no", "prompt", "7"]
