"""Noise over the timesteps: of diffusion models and of flow matching, and which of their timesteps mean the same."""

import pytest
import torch

from persona_core.noise import DiffusionSchedule, FlowSchedule, add_noise, log_snr, same_noise, taken_apart, usual
from persona_core.stages import Stages

ALPHAS = torch.linspace(0.999, 0.001, 1000)
SCHEDULES = [DiffusionSchedule(ALPHAS), DiffusionSchedule(ALPHAS, velocity=True), FlowSchedule(), FlowSchedule(3.0)]


def pictures():
    return torch.randn(2, 3, 4, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_from_a_right_denoiser_follow_the_picture_and_the_noise(schedule):
    (latents, noise), t = pictures(), torch.tensor([10, 500, 990])
    output = schedule.target(latents, noise, t)
    clean, rest = taken_apart(schedule, add_noise(schedule, latents, noise, t), output, t)
    torch.testing.assert_close(clean, latents, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(rest, noise, atol=1e-4, rtol=1e-4)


def test_in_a_flow_a_timestep_is_a_thousand_times_the_noise_level():
    (latents, noise), t = pictures(), torch.tensor([250, 500.0, 1000])
    sigma = torch.tensor([0.25, 0.5, 1.0])[:, None, None, None]
    found = add_noise(FlowSchedule(3.0), latents, noise, t)
    torch.testing.assert_close(found, (1 - sigma) * latents + sigma * noise)
    # From there it is sigma times the output to the picture, as the host's samplers go.
    torch.testing.assert_close(found - sigma * FlowSchedule().target(latents, noise, t), latents)


def test_the_papers_stage_has_as_much_noise_in_a_flow():
    """The specification's figures: t = 800 and 400 are sigma 0.84 and 0.54."""
    stages = same_noise(Stages(400, 800), usual(), FlowSchedule(3.0))
    assert (stages.t_lo, stages.t_hi) == (538, 836)
    again = same_noise(stages, FlowSchedule(), usual())
    assert abs(again.t_lo - 400) <= 1 and abs(again.t_hi - 800) <= 1


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_more_noise_is_a_higher_timestep(schedule):
    ratios = log_snr(schedule, torch.arange(1, 1000))
    assert (ratios.diff() < 0).all()


def test_noise_levels_are_drawn_with_the_models_shift():
    drawn = {
        shift: FlowSchedule(shift).random(Stages(400, 800), 4000, torch.Generator().manual_seed(0))
        for shift in (1.0, 3.0)
    }
    for t in drawn.values():
        assert 400 <= t.min() < 401 and 799 < t.max() <= 800
    assert drawn[1.0].mean() == pytest.approx(600, abs=5)
    # A shift of 3 takes even numbers to the levels; those of 400 and 800 are then 0.182 and 0.571.
    even = torch.linspace(0.4 / (3 - 0.8), 0.8 / (3 - 1.6), 10001)
    assert drawn[3.0].mean() == pytest.approx(float((3000 * even / (1 + 2 * even)).mean()), abs=5)


def test_a_flow_is_painted_at_the_timesteps_that_the_shift_gives():
    assert FlowSchedule().spaced(5).tolist() == [1000, 750, 500, 250, 0]
    torch.testing.assert_close(FlowSchedule(3.0).spaced(5), torch.tensor([1000, 900, 750, 500, 0.0]))
    assert DiffusionSchedule(ALPHAS).spaced(4).tolist() == [999, 666, 333, 0]
