"""Which context holds at which t: stages, several personas, interpolation."""

import pytest
import torch

from persona_core.mapper import StageMapper
from persona_core.persona import Persona
from persona_core.stages import Stages
from persona_core.table import PERSONA, AppliedPersona, ContextTable, Segment, plan


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


@pytest.mark.parametrize(
    ("start_at", "end_at", "held"),
    [
        (0.0, 1.0, (0, 999)),
        (0.5, 1.0, (0, 499)),
        (0.0, 0.7, (300, 999)),
        (0.25, 0.75, (250, 749)),
        (0.999, 1.0, (0, 0)),
    ],
)
def test_outside_its_share_of_the_sampling_a_persona_is_its_word(start_at, end_at, held):
    """Shares count as the host's do: percent_to_sigma takes the timestep 999 (1 - share)."""
    use = AppliedPersona(persona(), early=PERSONA, late=PERSONA, start_at=start_at, end_at=end_at)
    stands = [t for t in range(1000) if use.vectors(t) is not None]
    assert (stands[0], stands[-1]) == held and len(stands) == held[1] - held[0] + 1
    segments = plan([use])
    assert (segments[0].after, segments[-1].until) == (held[0] - 0.5, held[1] + 0.5)
    assert all(one.until == other.after for one, other in zip(segments, segments[1:]))


def test_a_share_within_a_stage_leaves_the_rest_of_the_stage_as_it_was():
    whole, part = (AppliedPersona(persona(), start_at=start) for start in (0.0, 0.4))
    assert part.clamped(620) is None and part.clamped(590) == whole.clamped(590) == 590
    assert [segment.grid[-1] for segment in plan([part])] == [0, 599]


@pytest.mark.parametrize("strength", [0.5, 1.0, 2.0])
def test_key_locking_takes_k_back_to_the_word_and_leaves_v(strength):
    mapper = StageMapper(torch.arange(1.0, 9.0), Stages(), 2).requires_grad_(False)
    mapper.head.weight.normal_(generator=torch.Generator().manual_seed(0))
    ann = Persona("ann", mapper, "SD1.x", "face")
    free = AppliedPersona(ann, strength).vectors(600)
    for locking in (0.25, 0.5, 1.0):
        locked = AppliedPersona(ann, strength, key_locking=locking).vectors(600)
        assert torch.equal(locked.values, free.values) and torch.equal(locked.bypass, free.bypass)
        kept = AppliedPersona(ann, strength * (1 - locking)).vectors(600)
        expected = mapper.word.expand(1, 2, 8) if kept is None else kept.keys
        torch.testing.assert_close(locked.keys, expected)
