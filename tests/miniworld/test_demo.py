"""What the demo shows: its sheet and the figures it prints."""

import numpy as np
import torch
from PIL import Image

from miniworld.measuring.asking import PAIR_PROMPTS, PROMPTS
from tools.demo_sheet import LARGE, PHOTO, SMALL, Painted, draw, summary
from tools.demo_small_world import SHOWN, TWO, tell


def plain_colour(*colour: int) -> torch.Tensor:
    return torch.tensor(colour, dtype=torch.float)[:, None, None].expand(3, 128, 128) / 255


def painted(red: int, likeness: float) -> list[Painted]:
    return [Painted(f"prompt {n}", plain_colour(red, 10 * n, 77), likeness, n < 6) for n in range(8)]


def test_the_sheet_holds_the_photos_and_all_that_was_painted(tmp_path):
    file = tmp_path / "demo/sheet.png"
    two = Painted("two", plain_colour(9, 9, 9), 0.5, True)
    draw(plain_colour(1, 2, 3), painted(200, 0.9), painted(100, 0.1), plain_colour(4, 5, 6), two, file)
    sheet = np.asarray(Image.open(file))

    def size(*colour: int) -> int:
        return (sheet == colour).all(-1).sum()

    assert (size(1, 2, 3), size(4, 5, 6), size(9, 9, 9)) == (PHOTO**2, SMALL**2, LARGE**2)
    for n in range(8):
        assert (size(200, 10 * n, 77), size(100, 10 * n, 77)) == (LARGE**2, SMALL**2)


def test_prompts_are_of_those_that_are_measured():
    assert set(SHOWN) <= set(PROMPTS) and PAIR_PROMPTS[TWO] == ("left", "right")


def test_figures_are_the_mean_and_the_count(capsys):
    learned, plain = painted(200, 0.9), painted(100, 0.1)
    assert summary(learned[4:]) == "likeness 0.90, 2 of 4 as asked"
    tell(plain[0], learned[7])
    assert capsys.readouterr().out.split() == ["0.10", "0.90", "yes", "no", "prompt", "7"]
