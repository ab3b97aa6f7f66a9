"""Pictures while learning: how often, how large, and what is painted."""

import pytest

from persona_core import preview
from persona_core.preview import SHARE, Pace, size_of
from persona_core.progress import Progress

STEP = 0.5  # seconds


def pictures(steps: int, guess: float, took: float, look: int = 0) -> list[int]:
    """After which steps there is a picture, if each takes so many seconds."""
    pace, painted = Pace(guess), []
    for step in range(1, steps + 1):
        progress = Progress({"noise": [0.1] * step}, seconds=STEP * step, planned=steps if step > look else 0)
        if pace.due(progress):
            painted.append(step)
            pace.took(took, progress)
    return painted


@pytest.mark.parametrize("took", [0.7, 3.0, 8.0])
def test_pictures_take_a_tenth_of_the_time_at_most(took):
    painted = pictures(1000, took / STEP, took)
    assert 0.8 * SHARE < len(painted) * took / (1000 * STEP) <= SHARE


def test_where_one_is_too_dear_there_is_none_and_where_it_proves_to_be_no_second():
    assert pictures(1000, 101, 0.1) == [] and len(pictures(1000, 1, 50.0)) == 1


def test_cheap_ones_come_once_a_second():
    assert len(pictures(1000, 0.01, 0.001)) == pytest.approx(1000 * STEP / preview.PAUSE, rel=0.01)


def test_there_is_nothing_to_see_while_the_photo_is_only_looked_at_nor_at_the_end():
    painted = pictures(100, 1, 0.1, look=40)
    assert painted[0] == 41 and painted[-1] < 100


def test_pictures_are_smaller_than_a_large_photo_and_of_its_shape():
    assert size_of(16, 16) == (16, 16) and size_of(64, 64) == (48, 48) and size_of(128, 128) == (64, 64)
    assert size_of(112, 80) == (56, 40)
