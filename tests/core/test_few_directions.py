"""How much is learned where chance moves tokens in few directions."""

import pytest
from looks import few_directions, meter_of

from persona_core.budget import CAREFUL, FEW_DIRECTIONS, LONGEST_LOOK, USUAL, MeasuredBudget
from persona_core.progress import Progress
from persona_core.recipes import MEASURED
from persona_core.signal_meter import SignalMeter

BUDGET = MeasuredBudget(MEASURED, reach=100, examples=2)


def test_where_chance_has_few_directions_it_learns_longer_in_shorter_steps():
    """There it makes another face of each seed, in as many pictures as are enough elsewhere."""
    many, few = (Progress(meters=(meter, SignalMeter())) for meter in (meter_of(16, 0.6), few_directions(16, 0.6)))
    assert few.meter.signal_to_noise == pytest.approx(many.meter.signal_to_noise, rel=0.5)
    assert BUDGET.round(few.meter) > 2.5 * BUDGET.round(many.meter)
    assert BUDGET.highest_rate(few) < 0.6 * BUDGET.highest_rate(many)
    # Pieces have a chance each, and even out.
    pieces = MeasuredBudget(MEASURED, reach=100, examples=2, pieces=5, apart=2.4)
    assert pieces.round(few.meter) < 3 * BUDGET.round(few.meter)


@pytest.mark.parametrize(("left", "more"), [(0.6, 0.5), (0.0, 0.0)])
def test_where_chance_has_few_directions_it_goes_on_half_as_long_if_something_is_surely_left(left, more):
    first = few_directions(24, 0.6)
    look = BUDGET.second_look(first)
    assert 2 * look == pytest.approx((CAREFUL.again / first.signal_to_noise) ** 2, rel=0.1)
    again = few_directions(2 * look, left)
    again.steps = look
    assert again.sure_of_some == bool(left)
    looked = Progress({"noise": [0.0] * 500}, meters=(first, again))
    assert BUDGET.second_round(looked) == pytest.approx(more * BUDGET.round(first), abs=1)


def test_a_second_look_is_no_longer_than_the_longest_or_a_usual_one():
    """But a weak signal asks for a long one, or chance would hide whether anything is left."""
    few = few_directions(256, 0.15)
    assert BUDGET.second_look(few) == LONGEST_LOOK / BUDGET.examples
    assert 2 * BUDGET.second_look(meter_of(256, 0.05)) > 2 * LONGEST_LOOK


def test_halfway_between_many_directions_and_few_it_asks_for_what_is_between():
    few, many, between = (few_directions(24, 0.6, directions) for directions in (6, 900, FEW_DIRECTIONS))
    assert BUDGET.care(few).pace == pytest.approx(CAREFUL.pace, rel=0.01)
    assert BUDGET.care(many).pace == pytest.approx(USUAL.pace, rel=0.01)
    assert 0.3 * USUAL.pace < BUDGET.care(between).pace < 0.9 * USUAL.pace
