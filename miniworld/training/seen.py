"""What a rebuilt picture looks like to the instruments, as a loss: no weights trained on photographs are at hand."""

import torch.nn.functional as F
from torch import Tensor

from ..measuring.crops import face_crops, figure_crops
from ..measuring.instruments import load
from .learning import RUNS, quickly


class Seen:
    """Distances of two pictures as the face and the figure eye see their heads."""

    def __init__(self):
        tools, _ = load(RUNS / "instruments.safetensors")
        self.eyes = ((tools.face, face_crops, 1.0), (tools.figure, figure_crops, 0.5))

    def __call__(self, x: Tensor, y: Tensor, rows: Tensor, boxes: Tensor) -> Tensor:
        """x, y: [B, 3, 128, 128] in 0..1; rows [N] and boxes [N, 4] of the heads in them."""
        loss = 0.0
        for eye, cut, weight in self.eyes:
            with quickly():
                true, found = (eye.look(cut(pictures, rows, boxes))[1] for pictures in (x, y))
            loss = loss + weight * sum(apart(a.float().detach(), b.float()) for a, b in zip(true, found))
        return loss


def apart(a: Tensor, b: Tensor) -> Tensor:
    """Mean squared distance of features [B, C, h, w], each place's scaled to length 1."""
    return (F.normalize(a, dim=1) - F.normalize(b, dim=1)).square().sum(1).mean()
