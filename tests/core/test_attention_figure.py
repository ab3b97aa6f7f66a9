"""The figure of Persona Attention: its numbers are right, and what is drawn stands where it belongs."""

import pytest
import torch

from persona_core.attention_figure import COLORS, HEADER, LABELS, ROWS, TILE, WordAttention, attention_figure
from persona_core.charts import MARGIN, SHADE
from persona_core.stages import Stages

LEFT, CELL = MARGIN[0], TILE + 2  # of the first column; from one tile to the next
TIMESTEPS = [990.0, 600.0, 20.0]
MASK = torch.cat([torch.ones(4, 2), torch.zeros(4, 2)], 1)  # the left half: 8 cells
STAGES = {"<ann>": Stages(400, 800)}


def cells(rows: slice, columns: slice, value: float) -> torch.Tensor:
    values = torch.zeros(4, 4)
    values[rows, columns] = value
    return values


ALL = slice(None)
MAPS = {
    "a": torch.stack([cells(slice(1), ALL, 0.3), cells(ALL, slice(2, 4), 0.01), cells(ALL, slice(2, 4), 0.5)]),
    "<ann>": torch.stack([cells(slice(2), slice(2), 0.4), cells(ALL, slice(2), 0.8), cells(ALL, slice(3), 0.2)]),
}


def figure(looks: WordAttention, height: int = 64, width: int = 64) -> torch.Tensor:
    [picture] = attention_figure(torch.full((height, width, 3), 0.5), looks)
    return picture


def shows(part: torch.Tensor, color: tuple[int, int, int]) -> torch.Tensor:
    return ((part * 255).round() == torch.tensor(color)).all(-1)


def test_iou_of_known_maps_with_a_known_mask():
    looks = WordAttention(TIMESTEPS, MAPS, STAGES, MASK)
    assert looks.iou["<ann>"].tolist() == pytest.approx([4 / 8, 1, 8 / 12])
    assert looks.iou["a"].tolist() == pytest.approx([2 / 10, 0, 0])
    assert looks.best("<ann>") == (600, 1) and looks.best("a") == (990, pytest.approx(0.2))
    assert looks.ranked == ["<ann>", "a"] and WordAttention(TIMESTEPS, MAPS, {}).iou == {}


def test_a_row_a_word_a_column_a_timestep_on_one_scale():
    picture = figure(WordAttention(TIMESTEPS, MAPS, STAGES))
    assert len(picture) < HEADER + 3 * CELL, "no curves without a mask"

    def light(row, column, down, across):
        """Of the middle of a cell of the 4 x 4."""
        y, x = HEADER + row * CELL + 24 * down + 12, LEFT + column * CELL + 24 * across + 12
        return float(picture[y, x].sum())

    assert light(1, 1, 0, 0) > 2.5 and light(1, 1, 0, 3) < 0.2  # <ann> at 600, on the left
    assert light(0, 1, 0, 3) < 0.2, "drowned: an eightieth as much as <ann>"
    assert light(0, 2, 3, 3) > 2.5 and light(1, 2, 0, 0) < 0.7 * light(0, 2, 3, 3)  # at 20, <ann> is the weaker one


def test_the_dynamic_stage_is_shaded_and_so_is_its_part_of_the_curves():
    picture = figure(WordAttention(TIMESTEPS, MAPS, STAGES, MASK))
    above = picture[HEADER - 22]
    assert [bool(shows(above[LEFT + column * CELL + 2], SHADE)) for column in range(3)] == [False, True, False]
    curves = picture[HEADER + 2 * CELL + 8 :]
    shaded = shows(curves, SHADE).any(0).nonzero()[:, 0]
    across = (curves.shape[1] - MARGIN[0] - MARGIN[2]) / 999
    assert shaded.min() == pytest.approx(LEFT + 199 * across, abs=2)  # t 800: noise is on the left
    assert shaded.max() == pytest.approx(LEFT + 599 * across, abs=2)
    assert not shows(figure(WordAttention(TIMESTEPS, MAPS, {}, MASK)), SHADE).any()


def test_the_personas_curve_is_thick_and_passes_through_its_iou():
    picture = figure(WordAttention(TIMESTEPS, MAPS, STAGES, MASK))
    curves = picture[HEADER + 2 * CELL + 8 :]
    middle = round(LEFT + 399 / 999 * (curves.shape[1] - MARGIN[0] - MARGIN[2]))  # t 600
    (persona, word) = (shows(curves[:, middle], color).nonzero()[:, 0] for color in COLORS[:2])
    top, bottom = MARGIN[1], len(curves) - MARGIN[3]
    assert abs(float(persona.float().mean()) - top) < 4 and abs(float(word.float().mean()) - bottom) < 4  # 1 and 0
    assert len(persona) > len(word) > 0


def test_of_a_long_prompt_the_first_words_and_all_personas_are_shown():
    maps = {f"word{number}": MAPS["a"] for number in range(40)} | {"<ann>": MAPS["<ann>"]}
    shown = WordAttention(TIMESTEPS, maps, STAGES, MASK).shortened(ROWS)
    assert list(shown.maps) == [*list(maps)[: ROWS - 1], "<ann>"]
    picture = figure(WordAttention(TIMESTEPS, maps, STAGES))
    assert len(picture) == HEADER + ROWS * CELL + 8


@pytest.mark.parametrize("height, width", [(64, 64), (32, 160), (160, 32)])
def test_no_text_runs_into_the_maps_or_out_of_the_picture(height, width):
    words = "a", "<somebody-with-a-very-long-name>", "pneumonoultramicroscopicsilicovolcanoconiosis"
    looks = WordAttention(TIMESTEPS, {word: MAPS["a"] for word in words}, {words[1]: Stages()}, MASK)
    picture = figure(looks, height, width)
    assert (picture[HEADER : HEADER + 3 * 46, LABELS[1] - 4 : LABELS[1]] == 1).all()
    assert (picture[:, -8:] == 1).all() and (picture[-1] == 1).all()
