"""Layers of paint with smooth edges, over a face's own coordinates.

Shapes: B pictures, R = SIZE * FINE fine pixels a side while drawing. Colours 0..1.
"""

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

SIZE, FINE = 32, 2  # pixels a side, and fine pixels in each


def rgb(colours) -> Tensor:
    """Hexadecimal colours to [n, 3] in 0..1."""
    return torch.tensor([[int(c[i : i + 2], 16) / 255 for i in (1, 3, 5)] for c in colours])


def along(colours, x: Tensor) -> Tensor:
    """The colour [B, 3] at x [B] in 0..1 of the ramp through `colours`."""
    stops = rgb(colours)
    at = x * (len(stops) - 1)
    low = at.long().clamp(max=len(stops) - 2)
    return torch.lerp(stops[low], stops[low + 1], (at - low)[:, None])


def between(low: float, high: float, x: Tensor) -> Tensor:
    return low + (high - low) * x[:, None, None]


class Canvas:
    """What is painted so far: red, green, blue and whether it is of the person, [B, 4, R, R].

    pose: [B, 3], x and y of the face's middle in -1..1 and half its height. u, v: [B, R, R], the face from -1 to 1.
    """

    def __init__(self, pose: Tensor):
        line = (torch.arange(SIZE * FINE) + 0.5) / (SIZE * FINE) * 2 - 1
        x, y, scale = (rearrange(value, "b -> b 1 1") for value in pose.unbind(1))
        self.u, self.v = torch.broadcast_tensors((line[None, None, :] - x) / scale, (line[None, :, None] - y) / scale)
        self.soft = 2 / (SIZE * FINE) / scale  # an edge is one fine pixel wide
        self.paint = torch.zeros(len(pose), 4, SIZE * FINE, SIZE * FINE)

    def edge(self, distance: Tensor) -> Tensor:
        """How much of each pixel lies inside, from the distance to the border, positive inside."""
        return (distance / self.soft + 0.5).clamp(0, 1)

    def ellipse(self, x, y, rx, ry) -> Tensor:
        return self.oval(self.u - x, self.v - y, rx, ry)

    def pair(self, x, y, rx, ry) -> Tensor:
        """Two ellipses, at x and at -x."""
        return self.oval(self.u.abs() - x, self.v - y, rx, ry)

    def oval(self, u, v, rx, ry) -> Tensor:
        smaller = torch.minimum(torch.as_tensor(rx), torch.as_tensor(ry))
        return self.edge((1 - ((u / rx) ** 2 + (v / ry) ** 2).sqrt()) * smaller)

    def fill(self, alpha: Tensor, colour: Tensor, person: float = 1.0) -> None:
        """Lay colour [B, 3] or [3] over the picture where alpha [B, R, R] is."""
        colour = F.pad(colour.expand(len(self.paint), 3), (0, 1), value=person)
        self.paint = torch.lerp(self.paint, rearrange(colour, "b c -> b c 1 1"), alpha[:, None])

    def finished(self) -> tuple[Tensor, Tensor]:
        """Pictures [B, 3, SIZE, SIZE] and masks [B, 1, SIZE, SIZE] in 0..1."""
        return F.avg_pool2d(self.paint, FINE).split((3, 1), 1)
