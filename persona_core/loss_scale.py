"""Loss scaling (mixed precision training, arXiv 1710.03740): in fp16 small gradients would be lost.

Torch's own scaler keeps its numbers on the device, in float64 too, which not every device has.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

GROWTH_AFTER = 2000  # steps without an overflow
SMALLEST = 2.0**-20  # what overflows with it is not finite at all


@dataclass
class LossScale:
    """value: what a loss is multiplied by, a power of two, so that nothing is rounded; 1 for good where not `enabled`.
    finite: how many steps in a row did not overflow."""

    enabled: bool = True
    value: float = 2.0**16
    finite: int = 0

    def __post_init__(self) -> None:
        self.value = self.value if self.enabled else 1.0

    @torch.no_grad()
    def unscale(self, gradients: Sequence[Tensor]) -> bool:
        """Divide them by the scale. Whether all are finite."""
        if self.enabled:
            for gradient in gradients:
                gradient.div_(self.value)
        norms = [gradient.norm() for gradient in gradients]
        return not norms or bool(torch.stack(norms).isfinite().all())  # at once: reading a number makes a GPU wait

    def grow(self) -> None:
        """A step did not overflow."""
        self.finite += 1
        if self.enabled and self.finite % GROWTH_AFTER == 0:
            self.value *= 2

    def shrink(self) -> bool:
        """A step did. Whether it is worth another try."""
        worth = self.enabled and self.value >= SMALLEST
        self.finite = 0
        self.value = self.value / 2 if worth else self.value
        return worth
