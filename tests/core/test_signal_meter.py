"""What is measured of the gradients: how much of them is the person, and in how many directions chance moves them."""

import math
from statistics import median

import pytest
import torch
from looks import few_directions, gradients, meter_of

from persona_core.budget import LOOK, looks
from persona_core.signal_meter import SignalMeter


@pytest.mark.parametrize(("signal", "count", "within"), [(1.0, 16, 0.1), (0.3, 16, 0.15), (0.12, 64, 0.2)])
def test_the_signal_in_gradients_is_found(signal, count, within):
    assert meter_of(count, signal).signal_to_noise == pytest.approx(signal, rel=within)


def test_noise_alone_has_no_signal():
    found = [meter_of(200, 0.0, seed=seed) for seed in range(20)]
    assert max(one.signal_to_noise for one in found) < 0.12 and all(looks(one) for one in found)
    assert SignalMeter().signal_to_noise == 0.0


def test_it_looks_until_the_signal_is_sure_or_long_enough():
    strong, weak = meter_of(16, 0.5), meter_of(16, 0.05)
    assert not looks(strong) and looks(weak) and looks(meter_of(LOOK - 1, 0.5))
    weak.observe(gradients(240, 0.05, seed=2))
    assert weak.count == 256 and not looks(weak)


def test_a_meter_goes_on_where_it_was():
    whole, part = meter_of(32, 0.5), SignalMeter()
    part.observe(gradients(32, 0.5)[:10])
    part = SignalMeter.of(part.tensors())
    part.observe(gradients(32, 0.5)[10:])
    assert part.signal_to_noise == pytest.approx(whole.signal_to_noise) and part.count == 32


@pytest.mark.parametrize("signal", [0.0, 0.1, 0.5, 1.0])
@pytest.mark.parametrize("directions", [4, 30, 64, 1024])
@pytest.mark.parametrize("count", [8, 24])
@pytest.mark.parametrize("person", ["among them", "elsewhere", "in some pictures more than in others"])
def test_how_many_directions_chance_has_is_found(directions, signal, count, person):
    """Among 1024 numbers, of which it is in so many: what the person is has no part in that."""
    found = []
    for seed in range(25):
        generator, meter = torch.Generator().manual_seed(seed), SignalMeter()
        axes = torch.linalg.qr(torch.randn(1024, directions, generator=generator)).Q.T
        towards = axes[0] if person == "among them" else torch.randn(1024, generator=generator) / 32
        strength = signal * torch.ones(count, 1)
        if person == "in some pictures more than in others":
            strength = signal * (1 + 0.3 * torch.randn(count, 1, generator=generator))
        meter.observe(strength * towards + torch.randn(count, directions, generator=generator) @ axes / directions**0.5)
        found.append(meter.directions)
    assert median(found) == pytest.approx(directions, rel=0.25, abs=2)


def test_a_picture_or_two_say_nothing_of_chance():
    assert [meter_of(count, 0.5).directions for count in (1, 2)] == [math.inf] * 2
    assert SignalMeter().directions == math.inf


def test_where_chance_has_few_directions_it_looks_for_longer():
    """There it can look like a strong signal, which would make learning short and fast."""
    assert few_directions(16, 0.9).sure and looks(few_directions(16, 0.9)) and not looks(few_directions(24, 0.9))
    assert not looks(meter_of(16, 0.9))
