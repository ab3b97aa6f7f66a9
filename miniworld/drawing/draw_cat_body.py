"""A sitting cat below its head, and what it wears around its neck."""

import torch
from torch import Tensor

from .canvas import Canvas, mix, rgb, smooth
from .cat_sitter import CREAM, CatSitter
from .sitter import OUTLINE, on


def paint_coat(c: Canvas, s: CatSitter, alpha: Tensor, x: Tensor | float, shift: float, head: int) -> None:
    """The pattern over a part of the cat."""
    if (s.pattern == 1).any():
        stripes = torch.sin((c.v + shift) * mix(9.0, 15.0, s.stripes) + 0.8 * torch.cos((c.u - x) * 4)) - 0.35
        beside = smooth(0.42, 0.68, (c.u - x).abs() + (0.0 if head else 0.12))
        c.fill(alpha * c.edge(stripes * 0.07) * beside * (s.pattern == 1) * 0.9, s.mark, head)
    if (s.pattern == 3).any():
        u, v = c.u - x, c.v + shift
        field = torch.sin(2.6 * u + 9 * s.patch_x) * torch.cos(2.9 * v + 7 * s.patch_y) + 0.45 * torch.sin(
            4.1 * u + 3.3 * v + 5 * s.patch_size
        )
        c.fill(alpha * c.edge((field - 0.25) * 0.3) * (s.pattern == 3), s.other, head)
        c.fill(alpha * c.edge((-field - 0.55) * 0.3) * (s.pattern == 3), CREAM, head)
    if (s.pattern == 5).any():
        spots = (
            torch.cos((c.u - x) * 11 + 3 * s.patch_x)
            * torch.cos((c.v + shift) * mix(9.0, 13.0, s.stripes) + 3 * s.patch_y)
            - 0.55
        )
        c.fill(
            alpha * c.edge(spots * 0.1) * (s.pattern == 5) * smooth(0.3, 0.5, (c.u - x).abs() + 0.3 * (not head)),
            s.mark,
            head,
        )


def draw_cat_body(c: Canvas, s: CatSitter) -> None:
    wide, dark = mix(0.72, 0.95, s.body), s.is_("pattern", "points")[:, None]
    limbs = torch.where(dark, s.mark, s.fur)
    c.fill(c.disc(0, 3.02, 1.25, 0.16, 0.15) * 0.4, OUTLINE, 0)  # its shadow on the ground
    on(c, s, (c.v[:, -1:] > 1.8).flatten(), (0.3, 1.6, 2.0, 3.5), draw_tail)
    t = ((c.v - 0.4) / 2.5).clamp(0, 1)
    half = wide * (0.62 + 0.62 * smooth(0.1, 0.85, t)) * (1 - smooth(0.86, 1.02, t) * 0.35)
    d = torch.minimum(c.across(-half, half), torch.minimum(c.v - 0.4, 2.95 - c.v))
    body = c.edge(d)
    c.fill(body, s.fur, 0)
    paint_coat(c, s, body, 0.0, -1.2, 0)
    c.fill(body * c.disc(0, 1.35, 0.26 + 0.3 * s.bib, 0.75, 0.05) * ((s.bib > 0) | (s.pattern == 2)), CREAM, 0)
    lit = s.lit(c, 0, 1.6, wide, 1.5)
    c.fill(body * smooth(0.1, -1.1, lit) * 0.5, s.fur_dark, 0)
    c.fill(body * c.glow(0, 0.75, 0.8, 0.3) * 0.5, s.fur_dark, 0)
    for side in (-1, 1):
        leg = c.line(0.27 * side, 1.9, 0.3 * side, 2.85, 0.2, 0.2)
        c.fill(c.edge(leg + 0.03, 0.08) * 0.35 * body, s.fur_dark, 0)
        c.fill(c.edge(leg) * smooth(1.6, 2.2, c.v), limbs, 0)
        paw = c.oval(0.32 * side, 2.92, 0.25, 0.16)
        white = torch.where((s.socks > 0) | (s.pattern == 2), 1.0, 0.0)
        c.fill(c.edge(paw), mix(limbs, CREAM, white[:, 0]), 0)
        for k in (-1, 1):
            c.fill(
                c.edge(c.line(0.32 * side + 0.08 * k, 2.9, 0.32 * side + 0.08 * k, 3.02, 0.014, 0.014)),
                s.fur_dark * 0.8,
                0,
            )
    for kind, draw in (("collar", draw_collar), ("bow tie", draw_bow), ("scarf", draw_scarf)):
        on(c, s, s.is_("clothes", kind), (-1.2, 0.3, 1.2, 2.0), draw)


def draw_tail(c: Canvas, s: CatSitter) -> None:
    wide = mix(0.72, 0.95, s.body)
    ring = (((c.u - 0.9 * wide) / 0.62) ** 2 + ((c.v - 2.55) / 0.62) ** 2).sqrt()
    tail = torch.minimum(mix(0.1, 0.2, s.tail) - 0.62 * (ring - 1).abs(), c.u - 0.75 * wide)
    c.fill(c.edge(tail), torch.where(s.is_("pattern", "points")[:, None], s.mark, s.fur), 0)
    c.fill(c.edge(tail) * c.edge(torch.sin(c.v * 13) * 0.07) * 0.8 * (s.pattern == 1), s.mark, 0)
    c.fill(c.edge(torch.minimum(tail, c.oval(wide + 0.05, 2.0, 0.3, 0.22))) * (s.socks > 0.7), CREAM, 0)


def draw_collar(c: Canvas, s: CatSitter) -> None:
    t = c.u / 0.66
    band = c.stroke(0.86 - 0.28 * t**2, 0.075 - 2 * (t.abs() - 1).clamp(min=0))
    c.fill(c.edge(band), s.cloth, 0)
    c.fill(c.disc(0, 1.02, 0.12, 0.12), rgb("#f3c44f"), 0)
    c.fill(c.disc(-0.03, 0.98, 0.04, 0.04), rgb("#fdf0c0"), 0)
    c.fill(c.edge(c.line(0, 1.04, 0, 1.12, 0.016, 0.016)), rgb("#7a5520"), 0)


def draw_bow(c: Canvas, s: CatSitter) -> None:
    for side in (-1, 1):
        wing = torch.minimum((c.u * side) * 0.62 - (c.v - 0.95).abs() + 0.05, 0.42 - c.u * side)
        c.fill(c.edge(wing), s.cloth, 0)
        c.fill(c.edge(wing) * c.edge(0.02 - (c.v - 0.95 - 0.1 * side * c.u).abs()) * 0.6, s.cloth * 0.6, 0)
    c.fill(c.disc(0, 0.95, 0.1, 0.11), s.cloth * 0.8, 0)


def draw_scarf(c: Canvas, s: CatSitter) -> None:
    end = torch.minimum(c.line(0.2, 0.95, 0.28, 1.6, 0.15, 0.17), 1.7 - c.v)
    for part in (end, c.oval(0, 0.82, 0.74, 0.22)):
        c.fill(c.edge(part + 0.03, 0.05) * 0.3, s.fur_dark, 0)
        c.fill(c.edge(part), s.cloth, 0)
        c.fill(c.edge(part) * torch.sin(24 * (c.u * 0.5 + c.v)).clamp(0, 1) * 0.4, mix(s.cloth, CREAM, 0.6), 0)
