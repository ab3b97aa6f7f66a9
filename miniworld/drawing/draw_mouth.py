"""Mouth and beard."""

import torch
from torch import Tensor

from .canvas import Canvas, mix, rgb, smooth
from .draw_head import face_distance
from .sitter import Sitter, on

#             width, corners up, open, teeth, pout
MOODS = {
    "neutral": (1.02, 0.025, 0.0, 0, 0), "smiling": (1.28, 0.085, 0.0, 0, 0), "laughing": (1.3, 0.075, 0.2, 1, 0),
    "sad": (0.9, -0.07, 0.0, 0, 0.4), "surprised": (0.55, 0.0, 0.16, 0, 0), "angry": (0.98, -0.04, 0.055, 2, 0),
}  # fmt: skip


def draw_mouth(c: Canvas, s: Sitter) -> None:
    wide, up, opened, teeth, pout = s.row("expression", MOODS)
    half = mix(0.19, 0.27, s.mouth_width) * wide * s.narrowed(torch.zeros_like(s.width), 1.0)
    x, v = s.turned(0.0, 0.8), s.mouth_v + 0.03 * (opened > 0.1)
    t = (c.u - x) / half
    arch = (1 - t**2).clamp(min=0)
    middle = v + up * (0.7 * arch - 0.7 * t**2) * 0.8
    above, under = middle - opened * 0.35 * arch**0.6, middle + opened * 0.8 * arch**0.6
    bow = 0.22 * torch.exp(-((t / 0.16) ** 2)) - 0.12 * torch.exp(-(((t.abs() - 0.3) / 0.2) ** 2))
    thin = mix(1.0, 0.7, (up > 0.03).float())
    top = above - mix(0.025, 0.085, s.upper_lip) * thin * arch**0.8 * (1 - bow)
    low = under + mix(0.035, 0.11, s.lower_lip) * thin * (1 + pout) * arch**0.7
    inside = half - (c.u - x).abs()
    c.tint(c.glow(x, v + 0.155, 0.8 * half, 0.045) * 0.4, s.skin_shade)
    whole = c.edge(torch.minimum(torch.minimum(c.below(top), c.above(low)), inside))
    c.fill(whole, s.lips)
    c.fill(whole * c.edge(middle - c.v, 0.02) * 0.45, s.lips * 0.72)
    c.fill(whole * c.glow(x, (low + under) / 2, 0.4 * half, 0.02) * (0.25 + 0.3 * s.lip_colour), torch.ones(3))
    gap = torch.minimum(torch.minimum(c.below(above), c.above(under)), inside)
    gap = c.edge(gap) * (opened > 0)
    c.fill(gap, rgb("#5d1a26"))
    tongue = c.disc(x, under.amax(2, keepdim=True) + 0.02, 0.6 * half, 0.09)
    c.fill(gap * tongue * (opened > 0.1), rgb("#d9656a"))
    bottom = mix(above + 0.085, under + 0.02, (teeth == 2).float())
    white = gap * c.edge(bottom - c.v) * (teeth > 0)
    c.fill(white, torch.tensor([0.99, 0.98, 0.95]))
    # Between the teeth: faint lines, and the gap of those who have one.
    for k in (-2, -1, 1, 2):
        c.fill(white * c.edge(0.006 - (c.u - x - 0.105 * k).abs()) * 0.3, rgb("#b9a49a"))
    c.fill(white * c.edge(0.016 + 0.026 * s.tooth_gap - (c.u - x).abs()) * (s.tooth_gap > 0), rgb("#5d1a26"))
    line = c.stroke(middle, 0.017 * (1 - 0.8 * t**2) - 10 * (t.abs() - 1.06).clamp(min=0))
    c.fill(c.edge(line) * (opened == 0) * 0.9, s.lips * 0.5)
    for side in (-1, 1):
        corner = v - 0.56 * up
        c.fill(c.disc(x + side * half * 1.02, corner, 0.025, 0.025, 0.02) * 0.7, s.skin_shade * 0.85)


def beard_area(c: Canvas, s: Sitter, face: Tensor) -> Tensor:
    """Distance inside what a beard covers: the jaw, below a line from the ears to under the nose."""
    x = s.turned(0.0, 0.8)
    t = ((c.u - x) / s.width).abs()
    line = s.mouth_v - 0.1 - 0.06 * s.beard_size - 0.6 * smooth(0.6, 1.05, t) + 0.16 * smooth(0.24, 0.5, t)
    wave = 0.02 * s.wave(9 * c.u, 1.0, 2.3)
    return torch.minimum(face + wave, c.below(line))


def draw_beard(c: Canvas, s: Sitter) -> None:
    """All of it that the mouth lies upon."""
    on(c, s, s.is_("beard", "stubble", "beard", "long beard"), (-2, -2, 2, 3), draw_full_beard)
    on(c, s, s.is_("beard", "goatee"), (-0.9, 0.3, 0.9, 1.5), draw_goatee)


def draw_full_beard(c: Canvas, s: Sitter) -> None:
    stubble, long = s.beard == 1, s.beard == 5
    grown = face_distance(c, s, mix(0.02, 0.13, s.beard_size) * ~stubble)
    tip = s.turned(0.0, 0.75)
    down = mix(1.35, 1.95, s.beard_size)
    half = 0.56 * s.width / 0.74 * (1 - smooth(0.7, down + 0.15, c.v) ** 1.5)
    fall = torch.minimum(c.across(tip - half, tip + half), torch.minimum(down - c.v, c.v - 0.5))
    grown = torch.where(long, torch.maximum(grown, fall), grown)
    area = beard_area(c, s, grown)
    x = s.turned(0.0, 0.8)
    alpha = c.edge(area, mix(0.03, 0.2, stubble.float()))
    strands = s.wave((c.u - x) / (c.v + 0.9) * 30, 1.0, 2.1, 3.7)
    c.fill(alpha * mix(1.0, 0.3, stubble.float()), s.hair_base)
    c.fill(alpha * (0.5 + 0.5 * strands) * 0.45 * ~stubble, s.hair_dark)
    c.fill(alpha * c.glow(x - 0.25, s.chin_v - 0.12, 0.12, 0.2) * 0.3 * ~stubble, s.hair_light)


def draw_goatee(c: Canvas, s: Sitter) -> None:
    x, long = s.turned(0.0, 0.84), mix(0.1, 0.3, s.beard_size)
    alpha = c.edge(c.oval(x, s.chin_v - 0.06, 0.21, 0.13 + long) + 0.015 * s.wave(12 * c.u, 1.0, 2.3)) * c.edge(
        c.v - s.mouth_v - 0.12, 0.03
    )
    c.fill(alpha, s.hair_base)
    c.fill(alpha * (0.5 + 0.5 * s.wave((c.u - x) * 34, 1.0, 2.1)) * 0.4, s.hair_dark)


def draw_moustache(c: Canvas, s: Sitter) -> None:
    x, v = s.turned(0.0, 0.84), s.mouth_v
    only = s.beard == 2
    half = mix(0.27, mix(0.3, 0.44, s.beard_size), only.float()) * s.narrowed(torch.zeros_like(s.width), 1.0)
    t = (c.u - x) / half
    curl = mix(0.05, -0.03, s.beard_size) * only + 0.08 * ~only
    curve = v - 0.115 + curl * t**2 + 0.02 * torch.exp(-((t / 0.12) ** 2))
    thick = mix(0.04, 0.075, s.beard_size) * (1 - (t.abs() / 1.02) ** 2.2) * (1 - 0.35 * torch.exp(-((t / 0.14) ** 2)))
    alpha = c.edge(c.stroke(curve, thick))
    c.fill(alpha, s.hair_base)
    c.fill(alpha * c.edge(c.v - curve, 0.04) * 0.5, s.hair_dark)
