"""Layers of paint with smooth edges, over the coordinates of what is drawn.

Shapes: F figures (or pictures), h x w fine pixels. Coordinates u [F, 1, w] to the right and v [F, h, 1] down, so that
what depends on one of them alone costs a line, not a plane. A distance is positive inside. Colours 0..1.
"""

from __future__ import annotations

import torch
from torch import Tensor

Number = Tensor | float


def rgb(*colours: str) -> Tensor:
    """Hexadecimal colours to [n, 3] in 0..1, or to [3] if there is only one."""
    found = torch.tensor([[int(c[i : i + 2], 16) / 255 for i in (1, 3, 5)] for c in colours])
    return found[0] if len(colours) == 1 else found


def mix(a: Number, b: Number, x: Number) -> Tensor:
    return a + (b - a) * x


def smooth(low: Number, high: Number, x: Tensor) -> Tensor:
    """From 0 at low to 1 at high, without a corner."""
    t = ((x - low) / (high - low)).clamp(0, 1)
    return t * t * (3 - 2 * t)


def meet(a: Tensor, b: Tensor, round: float) -> Tensor:
    """The smaller of two distances, the corner between them rounded: inside both."""
    h = (round - (a - b).abs()).clamp(min=0)
    return torch.minimum(a, b) - h * h / (4 * round)


def join(a: Tensor, b: Tensor, round: float) -> Tensor:
    """Inside either, the corner between them filled."""
    return -meet(-a, -b, round)


def level(curve: Tensor, along: Tensor, dim: int) -> Tensor:
    """The cosine of a curve's slope, by which a vertical distance becomes the nearest one."""
    slope = curve.diff(dim=dim) / along.diff(dim=dim)
    # Not flatter than this: where a shape ends, the distance must still fall off.
    return torch.rsqrt(1 + torch.cat([slope, slope.narrow(dim, -1, 1)], dim) ** 2).clamp(min=0.15)


class Canvas:
    """What is painted so far.

    paint: [F, C, h, w]; the channels are red, green, blue and, where there are five, cover (how much of the pixel the
    figure hides; colours are multiplied by it) and head (how much of it is face and hair).
    soft: [F, 1, 1], the size of a fine pixel in u and v.
    """

    def __init__(self, paint: Tensor, u: Tensor, v: Tensor, soft: Tensor):
        self.paint, self.u, self.v, self.soft = paint, u, v, soft

    @classmethod
    def blank(cls, count: int, channels: int, size: int, x: Number = 0.0, y: Number = 0.0, scale: Number = 1.0):
        """size x size pixels over -1..1; (0, 0) of u and v lies at x, y [F] and a unit is `scale` [F] of them."""
        line = (torch.arange(size) + 0.5) / size * 2 - 1
        x, y, scale = (torch.as_tensor(value, dtype=torch.float32).expand(count)[:, None] for value in (x, y, scale))
        u, v = ((line - x) / scale)[:, None, :], ((line - y) / scale)[:, :, None]
        return cls(torch.zeros(count, channels, size, size), u, v, (2 / size / scale)[:, :, None])

    def cut(self, rows: Tensor, left: Number, top: Number, right: Number, bottom: Number) -> Canvas:
        """A copy of a window of some figures, all as large as the largest; the box in u and v, numbers or [F, 1, 1].

        The copy lies where `paste` puts it back."""
        near = [torch.as_tensor(side, dtype=torch.float32).expand(len(self.paint), 1, 1)[rows, 0, 0] for side in
                (left, top, right, bottom)]  # fmt: skip
        u, v, soft = self.u[rows, 0], self.v[rows, :, 0], self.soft[rows, 0, 0]
        begin_x, begin_y = (near[0] - u[:, 0]) / soft, (near[1] - v[:, 0]) / soft
        height, width = self.paint.shape[2:]
        begin_x, begin_y = begin_x.floor().clamp(0, width - 1).long(), begin_y.floor().clamp(0, height - 1).long()
        wide, high = ((near[2] - near[0]) / soft).ceil().long(), ((near[3] - near[1]) / soft).ceil().long()
        w, h = min(width, int(wide.max()) + 2), min(height, int(high.max()) + 2)
        xs, ys = begin_x.clamp(max=width - w).tolist(), begin_y.clamp(max=height - h).tolist()
        place = list(zip(rows.tolist(), ys, xs))
        # Only its own box comes back of each window, so that no figure depends on those beside it.
        begin_x, begin_y = begin_x - torch.tensor(xs), begin_y - torch.tensor(ys)
        own = torch.stack([begin_y, begin_y + high, begin_x, begin_x + wide], 1).tolist()
        sub = Canvas(
            torch.stack([self.paint[i, :, y : y + h, x : x + w] for i, y, x in place]),
            torch.stack([self.u[i, :, x : x + w] for i, _, x in place]),
            torch.stack([self.v[i, y : y + h] for i, y, _ in place]), self.soft[rows],
        )  # fmt: skip
        sub.place, sub.own = place, own
        return sub

    def rows(self, rows: Tensor) -> Canvas:
        """A copy of some figures."""
        return Canvas(self.paint[rows], self.u[rows], self.v[rows], self.soft[rows])

    def paste(self, sub: Canvas) -> None:
        for paint, (i, y, x), (top, bottom, left, right) in zip(sub.paint, sub.place, sub.own):
            part = paint[:, top:bottom, left:right]
            self.paint[i, :, y + top : y + top + part.shape[1], x + left : x + left + part.shape[2]] = part

    def fill(self, alpha: Tensor, colour: Tensor, head: float = 1.0) -> None:
        """Lay colour [3], [F, 3] or [F, 3, h, w] over the picture where alpha [F, h, w] is."""
        if colour.ndim <= 2:
            colour = colour.expand(len(self.paint), 3)[:, :, None, None]
        if self.paint.shape[1] == 5:
            more = torch.tensor([1.0, head])[:, None, None].expand(len(colour), 2, *colour.shape[2:])
            colour = torch.cat([colour, more], 1)
        self.paint.lerp_(colour, alpha[:, None])

    def tint(self, alpha: Tensor, colour: Tensor) -> None:
        """As `fill`, but only over what is painted already: a glow has no border and would spread far."""
        colour = colour.expand(len(self.paint), 3)[:, :, None, None]
        if self.paint.shape[1] == 5:
            colour = colour * self.paint[:, 3:4]
        self.paint[:, :3].lerp_(colour, alpha[:, None])

    def edge(self, distance: Tensor, blur: Number = 0.0) -> Tensor:
        """How much of each pixel lies inside; `blur` is the width of a softer border, in u and v."""
        return (distance / (self.soft + blur) + 0.5).clamp(0, 1)

    def oval(self, x: Number, y: Number, rx: Number, ry: Number) -> Tensor:
        """Distance to an ellipse, right near its border."""
        a, b = ((self.u - x) / rx) ** 2, ((self.v - y) / ry) ** 2
        r = (a + b).sqrt_()
        return r * (1 - r) / (a / rx**2 + b / ry**2).add_(1e-6).sqrt_()

    def disc(self, x: Number, y: Number, rx: Number, ry: Number, blur: Number = 0.0) -> Tensor:
        return self.edge(self.oval(x, y, rx, ry), blur)

    def glow(self, x: Number, y: Number, rx: Number, ry: Number) -> Tensor:
        """A spot without border, 1 in its middle."""
        return torch.exp(-(((self.u - x) / rx) ** 2)) * torch.exp(-(((self.v - y) / ry) ** 2))

    def box(self, left: Number, top: Number, right: Number, bottom: Number, round: Number = 0.0) -> Tensor:
        x, y, rx, ry = (left + right) / 2, (top + bottom) / 2, (right - left) / 2, (bottom - top) / 2
        a, b = (self.u - x).abs() - rx + round, (self.v - y).abs() - ry + round
        outside = (a.clamp(min=0) ** 2 + b.clamp(min=0) ** 2).sqrt()
        return round - outside - torch.maximum(a, b).clamp(max=0)

    def below(self, curve: Tensor) -> Tensor:
        """Distance below a curve v(u): [F, 1, w]."""
        return (self.v - curve) * level(curve, self.u.expand_as(curve), 2)

    def above(self, curve: Tensor) -> Tensor:
        return -self.below(curve)

    def right_of(self, curve: Tensor) -> Tensor:
        """Distance to the right of a curve u(v): [F, h, 1]."""
        return (self.u - curve) * level(curve, self.v.expand_as(curve), 1)

    def across(self, left: Tensor, right: Tensor) -> Tensor:
        """Between two curves u(v)."""
        return torch.minimum(self.right_of(left), -self.right_of(right))

    def stroke(self, curve: Tensor, half: Tensor) -> Tensor:
        """Distance to a line along v(u) that is `half` (u) thick to either side; it ends where `half` is negative."""
        return half - (self.v - curve).abs() * level(curve, self.u.expand_as(curve), 2)

    def line(self, x0: Number, y0: Number, x1: Number, y1: Number, r0: Number, r1: Number) -> Tensor:
        """A straight stroke, r0 and r1 thick to either side at its ends."""
        bx, by = x1 - x0, y1 - y0
        dot = bx * bx + by * by + 1e-9
        t = ((self.u - x0) * (bx / dot) + (self.v - y0) * (by / dot)).clamp_(0, 1)
        dx, dy = self.u - x0 - t * bx, self.v - y0 - t * by
        return r0 + (r1 - r0) * t - (dx * dx + dy * dy).sqrt_()
