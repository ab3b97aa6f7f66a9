"""Which context holds at which t: stages, several personas, interpolation."""

import pytest
import torch

from persona_core.mapper import StageMapper
from persona_core.persona import Persona
from persona_core.stages import Stages
from persona_core.table import AppliedPersona, ContextTable, Segment, plan


def persona(t_lo=400, t_hi=800):
    return Persona("ann", StageMapper(torch.ones(8), Stages(t_lo, t_hi)), "SD1.x", "face")


def test_one_persona_is_dynamic_then_static_and_early_it_is_the_word():
    late, dynamic = plan([AppliedPersona(persona())])
    assert (late.after, late.until, late.grid) == (-0.5, 399.5, (0,))
    assert (dynamic.after, dynamic.until) == (399.5, 800.5)
    assert dynamic.grid == tuple(range(400, 801, 20))


def test_a_stage_that_is_no_multiple_of_the_grid_keeps_both_ends():
    grid = plan([AppliedPersona(persona(405, 791))])[-1].grid
    assert grid[0] == 405 and grid[-1] == 791 and max(b - a for a, b in zip(grid, grid[1:], strict=False)) <= 20


@pytest.mark.parametrize(
    ("use", "spans"),
    [
        ({"late": "supercategory"}, [(399.5, 800.5)]),
        ({"early": "persona"}, [(-0.5, 399.5), (399.5, 800.5), (800.5, 999.5)]),
        ({"strength": 0.0}, []),
    ],
)
def test_what_stands_outside_the_dynamic_stage_is_a_choice(use, spans):
    assert [(s.after, s.until) for s in plan([AppliedPersona(persona(), **use)])] == spans


def test_two_personas_cut_each_others_stages():
    segments = plan([AppliedPersona(persona(400, 800)), AppliedPersona(persona(300, 700))])
    assert [(s.after, s.until) for s in segments] == [(-0.5, 299.5), (299.5, 399.5), (399.5, 700.5), (700.5, 800.5)]
    assert [len(s.grid) > 1 for s in segments] == [False, True, True, True]


def test_strength_zero_is_the_word_at_every_t():
    use = AppliedPersona(persona(), 0.0)
    assert all(use.vectors(t) is None for t in (0, 400, 600, 999))


def test_lookup_interpolates_inside_a_segment_and_falls_back_to_the_base():
    base = torch.full((1, 2, 3), -1.0)
    grid = (400, 420, 430)
    keys = torch.tensor([0.0, 1.0, 3.0])[:, None, None].expand(3, 2, 3)
    table = ContextTable(base, (Segment(399.5, 430.5, grid),), (keys,), (10 * keys,))
    expected = {399.0: -1, 400.0: 0, 405.0: 0.25, 420.0: 1, 425.0: 2, 430.0: 3, 430.4: 3, 431.0: -1, 999.0: -1}
    for t, value in expected.items():
        k, v = table.at(t)
        assert k.shape == (1, 2, 3)
        assert float(k.mean()) == pytest.approx(value)
        assert float(v.mean()) == pytest.approx(value if value == -1 else 10 * value)
