"""Eyes and brows."""

import torch

from .canvas import Canvas, mix, rgb
from .sitter import OUTLINE, Sitter

#                 upper lid, lower lid, brow up, brow tilt (inner end up), squeezed shut
MOODS = {
    "neutral": (0.0, 0.0, 0.0, 0.03, 0), "smiling": (-0.03, 0.22, 0.04, 0.05, 0), "laughing": (0, 0, 0.07, 0.02, 1),
    "sad": (-0.24, 0.05, 0.02, 0.13, 0), "surprised": (0.26, -0.06, 0.15, 0.03, 0),
    "angry": (-0.14, 0.14, -0.06, -0.115, 0),
}  # fmt: skip


def draw_eye(c: Canvas, s: Sitter, side: int) -> None:
    upper, lower, _, mood_tilt, shut = s.row("expression", MOODS)
    narrow = s.narrowed(s.eye_x * side, 0.72)
    x, v = s.turned(s.eye_x * side, 0.62), s.eye_v
    size = mix(0.165, 0.22, s.eye_size)
    rx, ry = size * narrow, size * mix(0.58, 0.9, s.eye_shape)
    out = (side * (c.u - x) / rx).clamp(-1.5, 1.5)  # -1 at the inner corner, 1 at the outer
    arch = (1 - out**2).clamp(min=0)
    tilt = mix(0.035, -0.07, s.eye_tilt) * out - 0.22 * mood_tilt * out * -1
    top = v + tilt - ry * (1 + upper) * arch ** mix(0.75, 0.55, s.eye_shape) * (1 + 0.12 * out)
    low = v + tilt + ry * (0.62 - 0.62 * lower) * arch**0.8
    opening = torch.minimum(c.below(top), c.above(low))
    open_ = c.edge(torch.minimum(opening, rx - (c.u - x).abs())) * (1 - shut)
    # Around the eye it is a little darker.
    c.tint(c.glow(x, v - 0.02, 1.35 * rx, 1.5 * ry) * 0.28, s.skin_shade)
    c.tint(c.glow(x + 0.3 * side * rx, v - 1.05 * ry, rx, 0.6 * ry) * 0.3 * s.woman, mix(s.blush, rgb("#7a4a8c"), 0.45))
    c.fill(open_, torch.tensor([0.98, 0.97, 0.96]))
    r = mix(0.105, 0.135, s.iris) * mix(0.9, 1.1, s.eye_size)
    look = x + 0.05 * s.sin
    iv = v - 0.015 * (1 + upper)
    iris = open_ * c.disc(look, iv, r * narrow.clamp(max=1), r)
    c.fill(iris, s.eye * 0.62)
    c.fill(open_ * c.disc(look, iv + 0.012, 0.82 * r * narrow, 0.82 * r, 0.02), s.eye)
    c.fill(iris * c.glow(look, iv + 0.6 * r, 0.8 * r, 0.5 * r) * 0.75, mix(s.eye, torch.ones(3), 0.45))
    c.fill(open_ * c.disc(look, iv, 0.47 * r * narrow, 0.47 * r), rgb("#1a1018"))
    c.fill(open_ * c.edge(top + 0.05 - c.v, 0.05) * 0.4, rgb("#3a2740"))
    c.fill(open_ * c.disc(look - 0.34 * r, iv - 0.4 * r, 0.3 * r, 0.3 * r), torch.ones(3))
    c.fill(open_ * c.disc(look + 0.35 * r, iv + 0.4 * r, 0.15 * r, 0.15 * r) * 0.7, torch.ones(3))
    ink = mix(OUTLINE, s.brow * 0.5, 0.5)
    thick = mix(0.018, 0.045, s.lashes) * (0.75 + 0.4 * out) * (1 - (out / 1.16) ** 6)
    happy = v + 0.06 - 0.12 * (1 - out**2)
    c.fill(c.edge(c.stroke(mix(top, happy, shut), thick.clamp(min=-0.05) + 0.008 * shut)), ink)
    crease = top - mix(0.035, 0.075, s.lids)
    c.fill(
        c.edge(c.stroke(crease, 0.016 * (1 - (out / 1.02) ** 4))) * (1 - shut) * mix(0.15, 0.85, s.lids),
        s.skin_shade * 0.86,
    )
    c.fill(c.edge(c.stroke(low, 0.012 * (1 - (out - 0.15) ** 2))) * (1 - shut) * 0.6, mix(s.skin_shade, ink, 0.35))
    # Lashes at the outer corner.
    long = (s.lashes - 0.5).clamp(min=0) * 0.24
    if (long > 0).any():
        base = v + mix(0.035, -0.07, s.eye_tilt)
        for start, rise in ((0.98, 0.45), (0.82, 0.95), (0.6, 1.25)):
            at = x + side * rx * start
            root = base - ry * (1 - start**2) ** 0.62 * (1 + upper) * 1.1
            root = mix(root, v + 0.06 - 0.12 * (1 - start**2), shut)
            lash = c.line(at, root, at + side * long * narrow, root - rise * long, 0.018, 0.004)
            c.fill(c.edge(lash) * (long > 0), ink)
    draw_brow(c, s, side)


def draw_brow(c: Canvas, s: Sitter, side: int) -> None:
    _, _, up, tilt, _ = s.row("expression", MOODS)
    narrow = s.narrowed(s.eye_x * side, 0.72)
    x = s.turned(s.eye_x * side * 1.02, 0.64)
    rx = mix(0.2, 0.22, s.eye_size) * narrow
    v = -0.2 - mix(0.0, 0.09, s.brow_height) - up - 0.05 * s.eye_shape * s.eye_size
    v = v - side * (s.brow_difference - 0.5) * 0.11
    out = (side * (c.u - x) / rx).clamp(-1.5, 1.5)
    arch = mix(0.02, 0.1, s.brow_arch)
    curve = v - arch * (1 - (out - 0.3) ** 2) + tilt * out
    half = mix(0.024, 0.068, s.brow_thickness) * (1.02 - 0.42 * (out + 1) / 2)
    half = half * (1 - (out.abs() / 1.02) ** 5)
    c.fill(c.edge(c.stroke(curve, half)) * 0.94, s.brow)
