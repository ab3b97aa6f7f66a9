"""How much noise a latent has at a timestep, and what the denoiser is to say then: of diffusion models and of flow
matching.

Timesteps run from 0 to 999 = most noise in both. In a flow they are a thousand times the noise level sigma. Those of
different models mean the same where the ratio of signal to noise is the same.
Shapes: B rows, latents [B, C, h, w], t [B].
"""

from dataclasses import dataclass
from typing import Protocol, TypeVar

import torch
from torch import Tensor

from .stages import LAST_TIMESTEP, TIMESTEPS, Stages

Level = TypeVar("Level", Tensor, float)


class NoiseSchedule(Protocol):
    """A model's own."""

    def parts(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """How much of the picture and of the noise is in a latent at t: [B] each."""
        ...

    def target(self, latents: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """What the denoiser should say [B, C, h, w]."""
        ...

    def random(self, stages: Stages, rows: int, generator: torch.Generator) -> Tensor:
        """Timesteps [B] of the stage, as often as the model is used there."""
        ...

    def spaced(self, count: int) -> Tensor:
        """Timesteps [count] from most noise to none, as samplers with so many steps take them."""
        ...


@dataclass(frozen=True)
class DiffusionSchedule:
    """z_t = sqrt(a) z + sqrt(1 - a) noise (DDPM, arXiv 2006.11239).

    alphas_cumprod: a of every timestep [1000]. velocity: whether the denoiser says sqrt(a) noise - sqrt(1 - a) z (arXiv
    2202.00512) instead of the noise.
    """

    alphas_cumprod: Tensor
    velocity: bool = False

    def parts(self, t: Tensor) -> tuple[Tensor, Tensor]:
        a = self.alphas_cumprod[t]
        return a.sqrt(), (1 - a).sqrt()

    def target(self, latents: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        if not self.velocity:
            return noise
        signal, spread = map(wide, self.parts(t))
        return signal * noise - spread * latents

    def random(self, stages: Stages, rows: int, generator: torch.Generator) -> Tensor:
        return stages.random(rows, generator)

    def spaced(self, count: int) -> Tensor:
        return torch.linspace(LAST_TIMESTEP, 0, count).round().long()


@dataclass(frozen=True)
class FlowSchedule:
    """z_t = (1 - sigma) z + sigma noise at t = 1000 sigma; the denoiser says noise - z (flow matching, as of Stable
    Diffusion 3, arXiv 2403.03206).

    shift: of the noise levels that are drawn, see `shifted`.
    """

    shift: float = 1.0

    def parts(self, t: Tensor) -> tuple[Tensor, Tensor]:
        sigma = t.float() / TIMESTEPS
        return 1 - sigma, sigma

    def target(self, latents: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        return noise - latents

    def random(self, stages: Stages, rows: int, generator: torch.Generator) -> Tensor:
        lowest, highest = (self.unshifted(t / TIMESTEPS) for t in (stages.t_lo, stages.t_hi))
        even = lowest + (highest - lowest) * torch.rand(rows, generator=generator)
        return TIMESTEPS * shifted(even, self.shift)

    def spaced(self, count: int) -> Tensor:
        return TIMESTEPS * shifted(torch.linspace(1, 0, count), self.shift)

    def unshifted(self, sigma: float) -> float:
        return shifted(sigma, 1 / self.shift)


def shifted(even: Level, shift: float) -> Level:
    """Noise levels of a flow 0..1 from even ones, with more of them where there is much noise: s / (1 + (s - 1) even)
    times as high (Stable Diffusion 3, arXiv 2403.03206, equation 23)."""
    return shift * even / (1 + (shift - 1) * even)


def usual() -> DiffusionSchedule:
    """That of SD1.x, SD2.x and SDXL, in whose timesteps both papers speak."""
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, TIMESTEPS, dtype=torch.float64) ** 2
    return DiffusionSchedule((1 - betas).cumprod(0).float())


def add_noise(schedule: NoiseSchedule, latents: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    """Latents with the noise of timesteps t."""
    signal, spread = map(wide, schedule.parts(t))
    return signal * latents + spread * noise


def taken_apart(schedule: NoiseSchedule, noisy: Tensor, output: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """The clean latents and the noise of noisy ones, if the denoiser's output at t is right: both are sums of them."""
    signal, spread = map(wide, schedule.parts(t))
    one, none = torch.ones_like(noisy), torch.zeros_like(noisy)
    of_clean, of_noise = schedule.target(one, none, t), schedule.target(none, one, t)
    share = of_noise * signal - of_clean * spread
    return (of_noise * noisy - spread * output) / share, (signal * output - of_clean * noisy) / share


def log_snr(schedule: NoiseSchedule, t: Tensor) -> Tensor:
    """The logarithm of the ratio of signal to noise, as variances, at timesteps t [B]: [B]."""
    signal, spread = schedule.parts(t)
    return 2 * (signal.log() - spread.log())


def same_noise(stages: Stages, known: NoiseSchedule, other: NoiseSchedule) -> Stages:
    """The stage of another schedule that has the same signal-to-noise at its ends, to a timestep."""
    ends = log_snr(known, torch.tensor([stages.t_lo, stages.t_hi]))
    every = log_snr(other, torch.arange(TIMESTEPS))
    return Stages(*((every - end).abs().argmin().item() for end in ends))


def wide(each: Tensor) -> Tensor:
    """[B] as it is multiplied with latents."""
    return each[:, None, None, None]
