"""Where along the timesteps a persona is dynamic, and how attention tells (PersonaMagic, Figure 2)."""

from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor

LAST_TIMESTEP = 999
TIMESTEPS = LAST_TIMESTEP + 1
GRID = 20  # timesteps between two points at which contexts are tabulated, and attention is measured


@dataclass(frozen=True)
class Stages:
    """The dynamic stage t_lo..t_hi, both ends included; timesteps run from 0 to 999 = most noise.

    Raises ValueError unless 0 <= t_lo < t_hi <= 999.
    """

    t_lo: int = 400
    t_hi: int = 800

    def __post_init__(self):
        if not 0 <= self.t_lo < self.t_hi <= LAST_TIMESTEP:
            raise ValueError(
                f"The dynamic stage must satisfy 0 <= t_lo < t_hi <= {LAST_TIMESTEP}, "
                f"but t_lo is {self.t_lo} and t_hi is {self.t_hi}."
            )

    def random(self, rows: int, generator: torch.Generator) -> Tensor:
        """Timesteps [B] of the stage, each as likely as any other."""
        return torch.randint(self.t_lo, self.t_hi + 1, (rows,), generator=generator)


@dataclass(frozen=True)
class Partition:
    """What `partition` found: the stages, the smoothed curve [T] that told them, and whether it was flat."""

    stages: Stages
    smoothed: Tensor
    flat: bool


def partition(
    timesteps: Tensor,
    iou: Tensor,
    *,
    keep: float = 0.9,
    window: int = 5,
    narrowest: int = 100,
    flat_below: float = 0.05,
    default: Stages = Stages(),
) -> Partition:
    """Find the dynamic stage in a curve of IoU over t (PersonaMagic, section 3.2).

    timesteps: [T] increasing, 0..999. iou: [T] in 0..1, how well the subject's attention covers its mask.
    The stage is the contiguous run around the best smoothed IoU that stays above `keep` times the best,
    at least `narrowest` timesteps wide. A curve whose best and worst lie less than `flat_below` apart says
    nothing: then the default stages are returned and `flat` is set.
    """
    smoothed = moving_average(iou, window)
    if smoothed.max() - smoothed.min() < flat_below:
        return Partition(default, smoothed, flat=True)
    best = int(smoothed.argmax())
    good = smoothed >= keep * smoothed[best]
    first = last = best
    while first > 0 and good[first - 1]:
        first -= 1
    while last < len(good) - 1 and good[last + 1]:
        last += 1
    t_lo, t_hi = widen(int(timesteps[first]), int(timesteps[last]), narrowest)
    return Partition(Stages(t_lo, t_hi), smoothed, flat=False)


def moving_average(curve: Tensor, window: int) -> Tensor:
    """Centred mean over `window` points of a curve [T]; at the ends, over the points that exist."""
    kernel = torch.ones(1, 1, window, dtype=curve.dtype)

    def sums(values: Tensor) -> Tensor:
        padded = rearrange(values, "t -> 1 1 t")
        return rearrange(torch.nn.functional.conv1d(padded, kernel, padding=window // 2), "1 1 t -> t")

    return sums(curve) / sums(torch.ones_like(curve))


def widen(t_lo: int, t_hi: int, narrowest: int) -> tuple[int, int]:
    """Grow a stage on both sides until it is `narrowest` timesteps wide, within 0..999."""
    missing = narrowest - (t_hi - t_lo)
    if missing <= 0:
        return t_lo, t_hi
    t_lo = min(max(t_lo - missing // 2, 0), LAST_TIMESTEP - narrowest)
    return t_lo, t_lo + narrowest


def attention_iou(attention: Tensor, mask: Tensor) -> Tensor:
    """IoU of binarized attention with a mask.

    attention: [..., h, w], any scale; it is cut halfway between its own lowest and highest value, so that a
    diffuse map becomes a scatter and scores low. mask: [h, w] in 0..1, cut at 0.5. Returns [...] in 0..1.
    """
    lowest, highest = attention.amin((-2, -1), keepdim=True), attention.amax((-2, -1), keepdim=True)
    covered = attention > (lowest + highest) / 2
    subject = mask > 0.5
    union = (covered | subject).sum((-2, -1)).clamp(min=1)
    return (covered & subject).sum((-2, -1)) / union
