"""Hats and glasses."""

import torch
from torch import Tensor

from .canvas import Canvas, mix, rgb
from .sitter import OUTLINE, Sitter, on

CREAM = torch.tensor([0.98, 0.95, 0.88])
GOLD = torch.tensor([0.97, 0.77, 0.27])


def draw_hat(c: Canvas, s: Sitter) -> None:
    for kind, draw in HATS_DRAWN.items():
        on(c, s, s.is_("hat", kind), (-2, -3, 2, 0.4), draw)


def band(c: Canvas, s: Sitter) -> tuple[Tensor, Tensor, Tensor]:
    """Middle, half width, and the curve v(u) where a hat ends on the forehead."""
    half = s.width + 0.05 + s.side.clamp(max=0.2)
    x = 0.05 * s.sin
    t = (c.u - x - 0.2 * s.sin) / half
    return x, half, -0.5 + 0.1 * t**2


def dome(c: Canvas, x: Tensor, half: Tensor, line: Tensor, high: float) -> Tensor:
    return torch.minimum(c.oval(x, -0.42, half, high), c.above(line))


def shaded(c: Canvas, d: Tensor, colour: Tensor, x: Tensor, half: Tensor) -> Tensor:
    alpha = c.edge(d)
    c.fill(alpha, colour, 0)
    c.fill(alpha * c.glow(x - 0.4 * half, -0.95, 0.35, 0.3) * 0.35, mix(colour, CREAM, 0.6), 0)
    return alpha


def shadow(c: Canvas, s: Sitter, line: Tensor, deep: float = 0.14) -> None:
    """What a hat casts on the face and the hair below it."""
    d = torch.minimum(c.below(line), line + deep - c.v)
    c.tint(c.edge(d, 0.06) * 0.35, torch.tensor([0.25, 0.1, 0.2]))


def draw_cap(c: Canvas, s: Sitter) -> None:
    x, half, line = band(c, s)
    shadow(c, s, line, 0.24)
    alpha = shaded(c, dome(c, x, half, line, 0.78), s.felt, x, half)
    for k in (-0.5, 0.5):
        seam = c.u - x - 0.2 * s.sin - k * half * torch.sqrt((1 - ((c.v + 0.42) / 0.78) ** 2).clamp(min=0))
        c.fill(alpha * c.edge(0.012 - seam.abs()) * 0.6, s.felt * 0.7, 0)
    c.fill(c.disc(x, -1.2, 0.08, 0.05), s.felt * 0.8, 0)
    middle, reach = x + 0.95 * s.sin, 0.72 * half + 0.08
    t = (c.u - middle) / reach
    top, low = -0.56 + 0.04 * t**2, -0.36 + 0.17 * t**2 - 0.02
    visor = torch.minimum(torch.minimum(c.below(top), c.above(low)), reach - (c.u - middle).abs())
    c.fill(c.edge(visor), s.felt * 0.78, 0)
    c.fill(c.edge(torch.minimum(visor, 0.03 - (c.v - top - 0.04).abs())) * 0.5, mix(s.felt, CREAM, 0.4), 0)


def draw_beanie(c: Canvas, s: Sitter) -> None:
    x, half, line = band(c, s)
    shadow(c, s, line)
    c.fill(c.disc(x - 0.1 * s.sin, -1.36, 0.2, 0.19), mix(s.felt, CREAM, 0.75), 0)
    alpha = shaded(c, dome(c, x, half, line, 0.88), s.felt, x, half)
    ribs = torch.sin((c.u - x) * 30 / half.clamp(min=0.5))
    c.fill(alpha * ribs.clamp(0, 1) * 0.3, s.felt * 0.65, 0)
    cuff = torch.minimum(torch.minimum(c.above(line), c.below(line - 0.27)), half + 0.03 - (c.u - x).abs())
    c.fill(c.edge(cuff), mix(s.felt, CREAM, 0.2), 0)
    c.fill(c.edge(cuff) * ribs.clamp(0, 1) * 0.4, s.felt * 0.75, 0)


def draw_straw(c: Canvas, s: Sitter) -> None:
    x, half, line = band(c, s)
    straw = torch.tensor([0.93, 0.79, 0.5])
    brim = c.oval(x + 0.12 * s.sin, -0.56, half + 0.52, 0.25)
    shadow(c, s, line + 0.06, 0.26)
    c.fill(c.edge(brim), straw * 0.93, 0)
    weave = torch.sin(34 * ((c.u - x) ** 2 * 0.25 + (c.v + 0.56) ** 2 * 3).sqrt())
    c.fill(c.edge(brim) * weave.clamp(0, 1) * 0.25, straw * 0.65, 0)
    crown = torch.minimum(c.oval(x, -0.6, half * 0.93, 0.7), c.above(line - 0.12))
    alpha = shaded(c, crown, straw, x, half)
    c.fill(alpha * torch.sin(40 * c.v).clamp(0, 1) * 0.2, straw * 0.65, 0)
    c.fill(alpha * c.edge(torch.minimum(c.below(line - 0.34), c.above(line - 0.1))), s.felt, 0)


def draw_top_hat(c: Canvas, s: Sitter) -> None:
    x, half, line = band(c, s)
    shadow(c, s, line + 0.02)
    wide = half * (0.86 - 0.1 * (c.v + 0.6))
    tall = torch.minimum(
        c.across(x - wide, x + wide), torch.minimum(c.v + 1.72 - 0.06 * ((c.u - x) / half) ** 2, -0.55 - c.v)
    )
    dark = s.felt * 0.45
    alpha = shaded(c, tall, dark, x, half)
    c.fill(alpha * c.edge(torch.minimum(c.v + 0.92, -0.55 - c.v)), mix(s.felt, CREAM, 0.25), 0)
    c.fill(c.disc(x, -0.55, half + 0.26, 0.13), dark * 0.85, 0)
    c.fill(c.disc(x, -0.59, half + 0.22, 0.08) * 0.5, mix(dark, CREAM, 0.2), 0)


def draw_beret(c: Canvas, s: Sitter) -> None:
    x, half, line = band(c, s)
    shadow(c, s, line - 0.06)
    lean = torch.where(s.parting > 0.5, 0.22, -0.22)
    u = c.u - x - lean
    tilted = Canvas(c.paint, u, c.v - 0.18 * u / lean.abs() * lean.abs() * torch.sign(lean), c.soft)
    c.fill(c.disc(x + lean * 1.3, -1.3, 0.04, 0.1), s.felt * 0.8, 0)
    d = torch.minimum(tilted.oval(0, -0.83, half + 0.18, 0.46), c.above(line - 0.1))
    alpha = shaded(c, d, s.felt, x, half)
    c.fill(alpha * c.edge(0.07 + 0.05 - (c.v - line + 0.16).abs(), 0.1) * 0.35, s.felt * 0.5, 0)


def draw_crown(c: Canvas, s: Sitter) -> None:
    x, half, line = band(c, s)
    up = s.rise
    half, base, t = 0.82 * half, -0.72 - 0.85 * up, (c.u - x) / (0.82 * half)
    base = base + 0.07 * t**2
    spikes = 0.3 * (1 - (2.5 * t + 0.5).remainder(1).sub(0.5).abs() * 2)
    d = torch.minimum(torch.minimum(c.above(base), c.v - base + 0.2 + spikes), half - (c.u - x).abs())
    c.fill(c.edge(d), GOLD, 0)
    c.fill(c.edge(torch.minimum(d, 0.04 - (c.v - base + 0.05).abs())), GOLD * 0.82, 0)
    c.fill(c.edge(d) * c.glow(x - 0.35, base - 0.25, 0.18, 0.3) * 0.6, CREAM, 0)
    for k in (-0.8, -0.4, 0.0, 0.4, 0.8):
        low = -0.72 - 0.85 * up + 0.07 * k**2
        c.fill(c.disc(x + k * half, low - 0.14, 0.06, 0.07), s.felt, 0)
        c.fill(c.disc(x + k * half, low - 0.51, 0.05, 0.05), GOLD, 0)


def draw_party_hat(c: Canvas, s: Sitter) -> None:
    x, half, _ = band(c, s)
    up = s.rise
    base = -0.84 - 0.9 * up + 0.08 * ((c.u - x) / half) ** 2
    tip = -1.95 - 0.9 * up
    wide = 0.5 * (c.v - tip) / 1.1
    d = torch.minimum(c.across(x - wide, x + wide), c.above(base))
    c.fill(c.edge(d), s.felt, 0)
    c.fill(c.edge(d) * c.edge(torch.sin(11 * (c.v + 0.5 * c.u)) * 0.09), mix(s.felt, CREAM, 0.8), 0)
    c.fill(c.edge(d) * c.edge(c.u - x - 0.2 * wide, 0.3) * 0.2, s.felt * 0.4, 0)
    c.fill(c.disc(x, tip + 0.04, 0.14, 0.14), GOLD, 0)


def draw_flowers(c: Canvas, s: Sitter) -> None:
    x, half, _ = band(c, s)
    petals = rgb("#f29bb2", "#fdf3e3", "#f6c453", "#e5665c", "#b9a0dc")
    for k in range(-4, 5):
        t = k / 4
        cx, cy = x + t * (half - 0.04), -0.66 - 0.2 * (1 - t**2)
        size = 0.14 if k % 2 else 0.18
        c.fill(c.disc(cx + 0.1, cy + 0.06, 0.12, 0.07), rgb("#5f9a5b"), 0)
        angle = torch.atan2(c.v - cy, c.u - cx)
        r = ((c.u - cx) ** 2 + (c.v - cy) ** 2).sqrt()
        flower = size * (0.78 + 0.22 * torch.cos(5 * angle + k)) - r
        c.fill(c.edge(flower), petals[k % 5], 0)
        c.fill(c.disc(cx, cy, 0.055, 0.055), GOLD if k % 5 != 2 else rgb("#8a5a2c"), 0)


def draw_glasses(c: Canvas, s: Sitter) -> None:
    rim = mix(OUTLINE, s.felt * 0.5, 0.55)
    dark, heart, square = (s.is_("glasses", f"{name}glasses")[:, None, None] for name in ("sun", "heart ", "square "))
    for side in (-1, 1):
        narrow = s.narrowed(s.eye_x * side, 0.72)
        x, v = s.turned(s.eye_x * 1.03 * side, 0.7), s.eye_v + 0.02
        rx, ry = 0.275 * narrow, torch.where(square, 0.2, torch.where(dark, 0.225, 0.265))
        flat = c.box(x - rx, v - ry, x + rx, v + ry, 0.08)
        lens = torch.where(square | dark, flat, c.oval(x, v, rx, ry))
        u = (c.u - x).abs() / narrow
        shape = 0.29 - (u**2 + (1.15 * (c.v - v) + 0.06 - 0.62 * (u + 1e-4).sqrt() * 0.42).square()).sqrt()
        lens = torch.where(heart, shape, lens)
        c.fill(c.edge(lens) * (dark | heart) * 0.94, torch.where(heart[:, 0], rgb("#d93a5e"), rgb("#2b2632")), 0)
        c.tint(c.edge(lens) * ~(dark | heart) * 0.16, rgb("#d8ecf5"))
        c.fill(c.edge(lens) * c.glow(x, v + 0.2, 0.3, 0.13) * (dark | heart) * 0.4, rgb("#b98a92"), 0)
        glint = torch.minimum(lens - 0.04, 0.035 - (c.u - x + 0.12 + 0.6 * (c.v - v)).abs())
        c.fill(c.edge(glint, 0.02) * mix(0.35, 0.55, dark.float()), torch.ones(3), 0)
        frame = 0.031 - (lens + 0.0).abs()
        c.fill(c.edge(frame), torch.where(heart[:, 0], rgb("#b3284b"), rim), 0)
        ear = s.turned(0.98 * side * s.width, 0.0) - s.sin * 0.35 * (side * s.sin < 0)
        seen = (1 - 3 * side * s.sin).clamp(0, 1)
        c.fill(c.edge(c.line(x + side * rx, v - 0.06, ear, v + 0.0, 0.028, 0.022)) * seen, rim, 0)
    inner = [s.turned(s.eye_x * 1.03 * side, 0.7) - side * 0.275 * s.narrowed(s.eye_x * side, 0.72) for side in (-1, 1)]
    middle, half = (inner[0] + inner[1]) / 2, (inner[1] - inner[0]).abs() / 2 + 0.02
    t = (c.u - middle) / half
    bridge = torch.minimum(
        c.stroke(s.eye_v - 0.05 + 0.04 * t**2, torch.full_like(c.u, 0.026)), half - (c.u - middle).abs()
    )
    c.fill(c.edge(bridge), torch.where(heart[:, 0], rgb("#b3284b"), rim), 0)


HATS_DRAWN = {
    "cap": draw_cap, "beanie": draw_beanie, "straw hat": draw_straw, "top hat": draw_top_hat, "beret": draw_beret,
    "crown": draw_crown, "party hat": draw_party_hat, "flowers": draw_flowers,
}  # fmt: skip
