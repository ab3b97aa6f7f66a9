"""Stage partition on curves whose answer is known."""

import pytest
import torch

from persona_core.stages import Stages, attention_iou, moving_average, partition

T = torch.arange(0, 1000, 20)


def plateau(low: int, high: int, best: float = 0.8, worst: float = 0.2) -> torch.Tensor:
    return torch.where((low <= T) & (high >= T), best, worst)


def test_a_plateau_is_the_stage():
    found = partition(T, plateau(300, 700))
    # Smoothing over 5 points eats at most two grid points of each end, for 0.9 of the best.
    assert not found.flat
    assert abs(found.stages.t_lo - 300) <= 40 and abs(found.stages.t_hi - 700) <= 40


def test_the_run_around_the_best_is_contiguous():
    curve = torch.maximum(plateau(100, 300, 0.75), plateau(500, 800, 0.8))
    stages = partition(T, curve).stages
    assert stages.t_lo >= 460 and 760 <= stages.t_hi <= 840


def test_a_narrow_peak_is_widened_to_100_and_stays_inside():
    peak = torch.full((50,), 0.1)
    peak[-1] = 5.0
    stages = partition(T, peak).stages
    assert stages.t_hi - stages.t_lo == 100 and stages.t_hi <= 999
    assert stages.t_lo <= 980 <= stages.t_hi


@pytest.mark.parametrize("level", [0.0, 0.4, 1.0])
def test_a_flat_curve_keeps_the_default_and_says_so(level):
    ripple = level + 0.02 * torch.sin(T / 50)
    found = partition(T, ripple)
    assert found.flat and found.stages == Stages(400, 800)


def test_moving_average_against_a_loop():
    curve = torch.rand(17, generator=torch.Generator().manual_seed(0))
    expected = [curve[max(0, i - 2) : i + 3].mean() for i in range(17)]
    torch.testing.assert_close(moving_average(curve, 5), torch.stack(expected))


def test_iou_of_attention_against_a_loop():
    generator = torch.Generator().manual_seed(1)
    attention, mask = torch.rand(3, 8, 8, generator=generator), torch.rand(8, 8, generator=generator)
    for row, iou in zip(attention, attention_iou(attention, mask), strict=True):
        cut = (row.min() + row.max()) / 2
        inter = union = 0
        for y in range(8):
            for x in range(8):
                a, b = bool(row[y, x] > cut), bool(mask[y, x] > 0.5)
                inter, union = inter + (a and b), union + (a or b)
        assert iou == pytest.approx(inter / union)


def test_attention_on_the_mask_scores_one():
    mask = torch.zeros(16, 16)
    mask[4:12, 5:9] = 1
    assert attention_iou(0.01 + 3e-4 * mask, mask) == 1


@pytest.mark.parametrize(("t_lo", "t_hi"), [(800, 400), (500, 500), (-1, 500), (400, 1000)])
def test_stages_out_of_order_or_range_are_refused(t_lo, t_hi):
    with pytest.raises(ValueError, match=f"t_lo is {t_lo} and t_hi is {t_hi}"):
        Stages(t_lo, t_hi)
