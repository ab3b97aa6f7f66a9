"""Charts: what is drawn stands where it belongs."""

import torch

from persona_core.charts import word_grid

TILE, LINE = 160, 22


def test_a_words_light_falls_where_it_looks_and_a_row_shares_one_scale():
    """A row a moment, a column a word, the picture first."""
    maps = torch.zeros(2, 2, 4, 4)
    maps[0, 0, 0, 0] = 0.8  # early: the first word, top left
    maps[0, 1, 3, 3] = 0.4  # the second, bottom right, half as much
    maps[1, 1, 0, 3] = 0.1  # late: the second word only, top right
    moments = [(label, dict(zip(("cup", "snow"), row))) for label, row in zip(("early", "late"), maps)]
    grid = word_grid(torch.ones(64, 64, 3), moments)[0]
    assert grid.shape == (2 * (TILE + LINE), 3 * TILE, 3)

    def light(row, column, down, across):
        """Mean of a quarter of a tile."""
        top, left = row * (TILE + LINE) + LINE + down * 120, column * TILE + across * 120
        return float(grid[top : top + 40, left : left + 40].mean())

    assert light(0, 0, 0, 0) == light(1, 0, 1, 1) == 1  # the picture itself
    assert light(0, 1, 0, 0) > 0.6 and light(0, 1, 1, 1) < 0.05
    assert abs(light(0, 2, 1, 1) / light(0, 1, 0, 0) - 0.5) < 0.1 and light(0, 2, 0, 0) < 0.05
    assert light(1, 2, 0, 1) > 0.6 and light(1, 1, 0, 0) == 0
