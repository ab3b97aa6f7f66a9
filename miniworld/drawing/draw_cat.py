"""A cat, from the back to the front. Head coordinates as of people; the ears reach up to -1.2."""

import torch
from torch import Tensor

from .canvas import Canvas, mix, rgb, smooth
from .cat_sitter import CREAM, CatSitter
from .draw_cat_body import draw_cat_body, paint_coat
from .draw_worn import draw_glasses, draw_hat
from .sitter import OUTLINE, on

#          upper lid, lower lid, slant (inner end down), pupil, shut, mouth open, corners, ears down
MOODS = {
    "neutral": (0.0, 0.0, 0.0, 0.0, 0, 0.0, 0.0, 0.0), "smiling": (-0.25, 0.4, 0.0, 0.1, 0, 0.0, 0.05, 0.0),
    "laughing": (0.0, 0.0, 0.0, 0.0, 1, 0.16, 0.05, 0.1), "sad": (-0.3, 0.0, -0.12, 0.4, 0, 0.0, -0.05, 0.55),
    "surprised": (0.2, -0.2, 0.0, 0.5, 0, 0.1, -0.02, -0.15), "angry": (-0.3, 0.15, 0.16, -0.2, 0, 0.08, -0.05, 0.8),
}  # fmt: skip


def head_distance(c: Canvas, s: CatSitter) -> Tensor:
    """Wide and flat, with tufts of fur at the cheeks."""
    up = (c.v / s.height).clamp(-1, 1)
    half = s.width * (1 - up.abs() ** mix(2.2, 2.7, s.jaw)).clamp(min=0) ** 0.47
    tuft = torch.exp(-(((c.v - 0.3) / 0.24) ** 2))
    half = half + tuft * mix(0.02, 0.16, s.fluff) * (1 + 0.35 * torch.sin(c.v * 34))
    x = 0.08 * s.sin
    return torch.minimum(c.across(x - half, x + half), s.height - c.v.abs())


def draw_cat(c: Canvas, s: CatSitter) -> None:
    on(c, s, None, (-2.0, 0.3, 2.0, 4.0), draw_cat_body)
    on(c, s, None, (-1.3, -1.4, 1.3, 0.2), draw_cat_ears)
    on(c, s, None, (-1.35, -0.95, 1.35, 1.0), draw_cat_head)
    for side in (-1, 1):
        x = s.turned(s.eye_x * side, 0.6)
        on(c, s, None, (x - 0.4, -0.45, x + 0.4, 0.4), draw_cat_eye, side)
    on(c, s, s.glasses.flatten() > 0, (-1.2, -0.6, 1.2, 0.6), draw_glasses)
    draw_hat(c, s)


def draw_cat_ears(c: Canvas, s: CatSitter) -> None:
    ears = s.row("expression", MOODS)[7]
    for side in (-1, 1):
        x = s.turned(side * mix(0.5, 0.66, s.ear_set) * s.width / 0.92, 0.0)
        wide = (1 - 0.35 * side * s.sin).clamp(0.6, 1.2)
        size = mix(0.42, 0.62, s.ear_size) * (1 - 0.5 * s.fold)
        tip_x = x + side * (0.16 + 0.32 * ears) * wide
        tip_v = -0.5 - size * (1 - 0.45 * ears)
        tip = mix(0.12, 0.045, s.ear_tip) + 0.1 * s.fold
        ear = c.line(x, -0.42, tip_x, tip_v, 0.3 * wide, tip)
        fur = torch.where(s.is_("pattern", "points")[:, None], s.mark, s.fur)
        c.fill(c.edge(ear), fur)
        inner = c.line(x, -0.4, mix(x, tip_x, 0.9), mix(-0.42, tip_v, 0.84), 0.19 * wide, 0.02)
        c.fill(c.edge(inner), mix(s.pink, s.fur_dark, 0.25))
        for k in (-1, 0, 1):
            hair = c.line(x - 0.1 * side, -0.4, x + 0.07 * k + 0.05 * side, -0.62 - 0.08 * (k == 0), 0.05, 0.01)
            c.fill(c.edge(hair) * 0.9, s.fur_light)
        bite = c.disc(tip_x + 0.13 * side, mix(-0.42, tip_v, 0.55), 0.09, 0.09)
        c.fill(bite * c.edge(ear) * (s.notch == (1 if side < 0 else 2)), OUTLINE)
        tuft = c.line(tip_x, tip_v, tip_x + 0.04 * side, tip_v - 0.2 * s.tufts, 0.05, 0.005)
        c.fill(c.edge(tuft) * (s.tufts > 0), s.fur_dark)


def draw_cat_head(c: Canvas, s: CatSitter) -> None:
    head = c.edge(head_distance(c, s))
    x, turn = s.turned(0.0, 0.6), s.turned
    c.fill(head, s.fur)
    paint_coat(c, s, head, x, 0.0, 1)
    if (s.pattern == 1).any():
        for k in (-1, 0, 1):  # the M on its forehead
            line = c.line(turn(0.2 * k, 0.5), -0.3 - 0.05 * abs(k), turn(0.26 * k, 0.35), -0.78, 0.03, 0.06)
            c.fill(head * c.edge(line) * (s.pattern == 1), s.mark)
    c.fill(head * c.glow(x, 0.18, 0.5, 0.48) * (s.pattern == 4) * 0.95, s.mark)
    for i, side in ((1, -1), (2, 1)):
        patch = c.disc(turn(0.42 * side, 0.5), -0.06, 0.36, 0.34, 0.03)
        c.fill(head * patch * (s.eye_patch == i) * (s.pattern != 4), torch.where(s.pattern[:, 0] == 1, s.mark, s.other))
    white = torch.maximum(s.muzzle, (s.pattern == 2).float())
    wedge = c.line(x, 0.35, turn(0.0, 0.45), mix(0.2, -0.75, s.blaze), 0.16, 0.04 + 0.06 * s.blaze)
    c.fill(head * c.edge(wedge, 0.02) * ((s.blaze > 0) | (s.pattern == 2)), CREAM)
    lit = s.lit(c, 0.1 * s.sin, 0.0, s.width, 0.8)
    c.fill(head * smooth(0.05, -1.1, lit) * 0.55, s.fur_dark)
    c.fill(head * smooth(0.2, 1.1, lit) * 0.4, s.fur_light)
    draw_muzzle(c, s, head, white)


def draw_muzzle(c: Canvas, s: CatSitter, head: Tensor, white: Tensor) -> None:
    _, _, _, _, _, opened, corners, _ = s.row("expression", MOODS)
    x, size, tone = s.turned(0.0, 0.78), mix(0.17, 0.25, s.pads), mix(s.fur_light, CREAM, white[:, 0])
    v = 0.3
    under = c.disc(x, 0.52, 0.7 * size, 0.14 + 0.6 * opened)
    c.fill(head * under, tone)
    mouth = c.oval(x, 0.45 + 0.4 * opened, 0.12 + 0.25 * opened, 0.02 + 0.85 * opened)
    c.fill(c.edge(mouth) * (opened > 0), rgb("#6b2433"))
    c.fill(c.edge(torch.minimum(mouth, c.v - 0.47 - 0.7 * opened)) * (opened > 0.1), rgb("#e58a8c"))
    for side in (-1, 1):
        pad_x = x + side * 0.72 * size * s.narrowed(side * 0.3 * torch.ones_like(x), 0.9)
        c.fill(c.disc(pad_x, 0.4, size, 0.8 * size), tone)
        fang = torch.minimum(0.05 - (c.u - x - 0.085 * side).abs() - 0.5 * (c.v - 0.5), c.v - 0.46)
        c.fill(c.edge(fang) * (s.expression == 5), CREAM)
        t = (c.u - pad_x) / (0.72 * size)
        lip = c.stroke(
            0.52 + 0.3 * corners - 0.11 * t**2 - corners * side * t, 0.02 - 0.3 * (t.abs() - 0.95).clamp(min=0)
        )
        c.fill(c.edge(lip), mix(OUTLINE, s.fur_dark, 0.25))
        for k in range(3):
            dot = c.disc(pad_x + side * (0.02 + 0.07 * k), 0.36 + 0.05 * (k % 2), 0.016, 0.016)
            c.fill(dot * 0.8, mix(s.fur_dark, OUTLINE, 0.4))
            reach = mix(0.5, 0.95, s.whiskers) * s.narrowed(side * 0.5 * torch.ones_like(x), 0.9)
            hair = c.line(pad_x + 0.1 * side, 0.38 + 0.04 * k, pad_x + side * reach, 0.22 + 0.2 * k, 0.012, 0.006)
            c.fill(c.edge(hair) * 0.85, mix(CREAM, OUTLINE, torch.where(s.coat[:, 0] == 3, 0.6, 0.0)))
        stray = c.line(x + side * 0.36, -0.26, x + side * 0.62, -0.72, 0.011, 0.006)
        c.fill(
            c.edge(stray) * (s.brow_whiskers > 0.5) * 0.8, mix(CREAM, OUTLINE, torch.where(s.coat[:, 0] == 3, 0.6, 0.0))
        )
    spot_side = torch.sign(s.spot_side - 0.5)
    c.fill(
        c.disc(x + 0.17 * spot_side, 0.36, 0.07, 0.06) * (s.spot > 0),
        torch.where(s.coat[:, 0] == 2, CREAM, s.mark * 0.8),
    )
    half = mix(0.09, 0.14, s.nose_size)
    nose = torch.minimum(half - (c.u - x).abs() * 0.9 - 0.75 * (c.v - v + 0.05).clamp(min=0), c.v - v + 0.06)
    c.fill(c.edge(nose + 0.02, 0.02), s.nose)
    c.tint(c.glow(x - 0.03, v - 0.03, 0.04, 0.025) * 0.7, torch.ones(3))
    c.fill(c.edge(c.line(x, v + 0.08, x, 0.5, 0.016, 0.016)) * (opened < 0.05), mix(OUTLINE, s.fur_dark, 0.25))


def draw_cat_eye(c: Canvas, s: CatSitter, side: int) -> None:
    upper, lower, slant, pupil, shut, *_ = s.row("expression", MOODS)
    narrow = s.narrowed(s.eye_x * side, 0.75)
    x, v, size = s.turned(s.eye_x * side, 0.6), s.eye_v, mix(0.2, 0.27, s.eye_size)
    rx, ry = size * narrow, size * mix(0.72, 1.0, s.eye_shape)
    out = (side * (c.u - x) / rx).clamp(-1.5, 1.5)
    arch = (1 - out**2).clamp(min=0)
    tilt = -mix(-0.02, 0.09, s.eye_tilt) * out
    top = v + tilt - (ry * (1 + upper) + slant * (out - 0.3)) * arch**0.6
    low = v + tilt + ry * (0.85 - lower) * arch**0.7
    shape = torch.minimum(torch.minimum(c.below(top), c.above(low)), rx - (c.u - x).abs())
    open_ = 1 - shut
    c.fill(c.edge(shape + 0.045) * mix(0.25, 1.0, s.rims) * open_, mix(s.fur_dark, OUTLINE, 0.5))
    eye = c.edge(shape) * open_
    colour = s.left_eye if side < 0 else s.right_eye
    c.fill(eye, colour * 0.85)
    c.fill(eye * c.glow(x, v + 0.5 * ry, 1.1 * rx, 0.7 * ry) * 0.8, mix(colour, torch.tensor([1.0, 1.0, 0.85]), 0.45))
    look = x + 0.05 * s.sin
    c.fill(
        eye * c.disc(look, v, (mix(0.05, 0.12, s.pupil) + 0.12 * pupil).clamp(min=0.025) * narrow, 0.8 * ry),
        rgb("#15101a"),
    )
    c.fill(eye * c.edge(top + 0.06 - c.v, 0.06) * 0.4, rgb("#2a1f30"))
    c.fill(eye * c.disc(look - 0.07, v - 0.4 * ry, 0.06, 0.06), torch.ones(3))
    c.fill(eye * c.disc(look + 0.07, v + 0.35 * ry, 0.03, 0.03) * 0.8, torch.ones(3))
    lash = c.stroke(mix(top, v + 0.05 - 0.14 * (1 - out**2), shut), 0.032 * (1 - (out / 1.12) ** 4))
    c.fill(c.edge(lash), mix(OUTLINE, s.fur_dark * 0.4, 0.4))
