"""What a look at pictures' gradients finds, of a set signal."""

import torch

from persona_core.signal_meter import SignalMeter


def gradients(count, signal, numbers=512, seed=0):
    """Of pictures: one direction, `signal` long, and noise of length 1."""
    generator = torch.Generator().manual_seed(seed)
    direction = torch.nn.functional.normalize(torch.randn(numbers, generator=generator), dim=0)
    return signal * direction + torch.randn(count, numbers, generator=generator) / numbers**0.5


def meter_of(count, signal, batch=2, **more):
    meter = SignalMeter()
    for part in gradients(count, signal, **more).split(batch):
        meter.observe(part)
    return meter


def few_directions(count, signal, directions=6):
    """What a look finds where chance has so few, of 1024."""
    meter = SignalMeter()
    noise = gradients(count, 0.0, numbers=directions)
    meter.observe(torch.cat([noise, torch.zeros(count, 1024 - directions)], 1) + signal * torch.eye(1024)[3])
    return meter
