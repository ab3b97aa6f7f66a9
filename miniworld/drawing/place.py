"""What all places share: hours of the day, chance and the sky. Places are drawn over u, v from -1 to 1."""

from __future__ import annotations

import torch
from torch import Tensor

from .canvas import Canvas, mix, rgb, smooth

DAY, SUNSET, NIGHT = range(3)
SKIES = (("#79b8e6", "#bfe0ee", "#f4efdc"), ("#6a5fa8", "#f08e72", "#ffd592"), ("#131a40", "#27356f", "#5a6aa8"))
# By what a colour of the day is multiplied, and how far it goes to which colour.
GRADES = torch.tensor([[1.0, 1.0, 1.0], [0.98, 0.76, 0.68], [0.34, 0.42, 0.68]])
HAZES = torch.tensor([[0.0, 0.0, 0.0], [0.06, 0.03, 0.05], [0.02, 0.02, 0.06]])


class Place:
    """Pictures of one kind of place: hour [B], long, and four numbers a, b, c, d that vary, each [B, 1, 1]."""

    def __init__(self, hour: Tensor, variant: Tensor):
        self.hour = hour
        self.a, self.b, self.c, self.d = variant.T[:, :, None, None]
        self.night = (hour == NIGHT).float()[:, None, None]
        self.sunset = (hour == SUNSET).float()[:, None, None]
        self.day = (hour == DAY).float()[:, None, None]

    def tone(self, colour: Tensor | str) -> Tensor:
        """A colour of the day, [3] or [B, 3], as it looks now: [B, 3]."""
        colour = rgb(colour) if isinstance(colour, str) else colour
        return colour * GRADES[self.hour] + HAZES[self.hour]

    def pick(self, x: Tensor, *colours: str) -> Tensor:
        """One of these by x in 0..1: [B, 3]."""
        return rgb(*colours)[(x.flatten() * len(colours)).long().clamp(max=len(colours) - 1)]

    def sky(self, height: float = 0.5) -> Tensor:
        """Its colour [B, 3], 0 above .. 1 at the horizon."""
        top, middle, low = (rgb(*row)[self.hour] for row in zip(*SKIES))
        return mix(top, middle, 2 * height) if height < 0.5 else mix(middle, low, 2 * height - 1)


def chance(n: Tensor, salt: Tensor | float = 0.0) -> Tensor:
    """A number 0..1 that looks random, for each whole number."""
    return (torch.sin(n * 12.9898 + salt * 78.233 + 1.3) * 437.585).remainder(1)


def ridge(c: Canvas, phase: Tensor, *waves: tuple[float, float]) -> Tensor:
    """A skyline v(u): a sum of (count, height) waves."""
    return sum(height * torch.sin(count * c.u + phase * (5 + count)) for count, height in waves)


def peaks(c: Canvas, phase: Tensor, count: float, height: float) -> Tensor:
    """A skyline of triangles of unequal height."""
    x = c.u * count + 9 * phase
    cell = x.floor()
    up = mix(chance(cell, 1.7), chance(cell + 1, 1.7), x - cell)
    small = (1.7 * x).remainder(1).sub(0.5).abs() * 0.3
    return -height * (up + small)


def draw_sky(c: Canvas, p: Place, horizon: float) -> None:
    """Sky down to the horizon, with sun, moon, stars or clouds."""
    t = (c.v + 1) / (horizon + 1)
    top, middle, low = (rgb(*row)[p.hour][:, :, None, None] for row in zip(*SKIES))
    t = t.clamp(0, 1)[:, None]
    c.paint[:] = torch.where(t < 0.5, mix(top, middle, 2 * t), mix(middle, low, 2 * t - 1))
    x = mix(-0.8, 0.8, p.a)
    if (p.hour == SUNSET).any():
        c.fill(c.glow(x, horizon - 0.18, 0.55, 0.42) * 0.7 * p.sunset, rgb("#ffe2a6"))
        c.fill(c.disc(x, horizon - 0.18, 0.17, 0.17) * p.sunset, rgb("#fff2cf"))
    if (p.hour == NIGHT).any():
        stars(c, p, p.night)
        c.fill(c.glow(x, -0.62, 0.4, 0.4) * 0.4 * p.night, rgb("#b9c8f2"))
        c.fill(c.disc(x, -0.62, 0.15, 0.15) * p.night, rgb("#f5f0da"))
        c.fill(
            (c.disc(x - 0.05, -0.66, 0.035, 0.03) + c.disc(x + 0.05, -0.59, 0.05, 0.045)) * p.night * 0.5,
            rgb("#d9d2bd"),
        )
    clouds(c, p)


def stars(c: Canvas, p: Place, seen: Tensor, count: float = 9.0) -> None:
    """One in most cells of a grid, each elsewhere and of other brightness."""
    x, y = c.u * count, c.v * count
    i, j = x.floor(), y.floor()
    key = i * 7 + j * 31
    dx, dy = x - i - 0.2 - 0.6 * chance(key, p.b), y - j - 0.2 - 0.6 * chance(key, p.c)
    bright = chance(key, p.d)
    c.fill(torch.exp(-(dx**2 + dy**2) * mix(260.0, 70.0, bright)) * (0.35 + 0.65 * bright) * seen, rgb("#fff6dd"))


def clouds(c: Canvas, p: Place) -> None:
    white = mix(p.sky(0.9), torch.ones(3), 0.55 * (p.hour != NIGHT)[:, None].float())
    seen = mix(0.85, 0.22, p.night)
    for k, (x, y, size) in enumerate(((-0.6, -0.7, 0.2), (0.45, -0.55, 0.26), (1.0, -0.8, 0.17))):
        x = (x + 2.2 * p.b + 0.3 * k + 1.4) % 2.8 - 1.4
        shape = torch.maximum(
            c.oval(x, y, 1.25 * size, 0.38 * size), c.oval(x + 0.3 * size, y - 0.24 * size, 0.6 * size, 0.42 * size)
        )
        shape = torch.maximum(shape, c.oval(x - 0.45 * size, y - 0.16 * size, 0.5 * size, 0.32 * size))
        shape = torch.minimum(shape, y + 0.22 * size - c.v)
        c.fill(c.edge(shape, 0.02) * seen * smooth(-1.5, -0.9, c.v + 0.0), white)
