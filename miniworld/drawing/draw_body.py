"""Neck, body and clothes."""

import torch
from torch import Tensor

from .canvas import Canvas, join, mix, smooth
from .draw_head import face_distance
from .sitter import OUTLINE, Sitter, on

WINDOWS = {"sweater": (-0.8, 0.7, 0.8, 2.2), "shirt": (-0.8, 0.7, 0.8, 3.4), "coat": (-1.0, 0.7, 1.0, 3.4)}
BODY = (-1.8, 0.7, 1.8, 9.0)
WHITE = torch.tensor([0.97, 0.95, 0.92])
DENIM = torch.tensor([0.27, 0.36, 0.52])


def shoulder(s: Sitter) -> Tensor:
    return mix(1.06, 1.4, s.shoulders) - 0.08 * s.woman


def torso_distance(c: Canvas, s: Sitter) -> Tensor:
    wide = shoulder(s)
    t = ((c.v - s.shoulder_v + 0.16) / 0.75).clamp(1e-4, 1)
    rounded = (1 - (1 - t) ** 2.6) ** 0.7
    waist = (
        1 - mix(0.16, 0.3, s.woman) * smooth(0.9, 1.9, c.v - s.shoulder_v) + 0.1 * smooth(1.8, 2.4, c.v - s.shoulder_v)
    )
    half = wide * rounded * waist
    return torch.minimum(c.across(-half, half), torch.minimum(c.v - s.shoulder_v + 0.16, s.shoulder_v + 2.5 - c.v))


def neck_sides(c: Canvas, s: Sitter) -> tuple[Tensor, Tensor]:
    x, low = -0.07 * s.sin, smooth(s.shoulder_v - 0.38, s.shoulder_v + 0.14, c.v)
    half = s.neck_half * (1 + 0.75 * low**2) + 0.9 * smooth(s.shoulder_v + 0.06, s.shoulder_v + 0.3, c.v)
    return x - half, x + half


def draw_neck(c: Canvas, s: Sitter) -> None:
    neck = c.edge(torch.minimum(c.across(*neck_sides(c, s)), torch.minimum(c.v - 0.4, s.shoulder_v + 0.1 - c.v)))
    c.fill(neck, s.skin_colour, 0)
    shadow = Canvas(c.paint, c.u, c.v - 0.14, c.soft)
    c.fill(neck * shadow.edge(face_distance(shadow, s)) * 0.9, s.skin_shade, 0)


def draw_legs(c: Canvas, s: Sitter) -> None:
    c.fill(c.disc(0, s.shoulder_v + 4.5, 1.25, 0.2, 0.15) * 0.4, OUTLINE, 0)  # its shadow on the ground
    hip, dress = s.shoulder_v + 2.3, s.is_("clothes", "dress")[:, None]
    skirt = s.is_("clothes", "dress", "coat")[:, None, None]
    trousers = torch.where(s.is_("clothes", "suit")[:, None], s.cloth * 0.8, DENIM)
    trousers = torch.where(s.is_("clothes", "dungarees")[:, None], s.cloth, trousers)
    trousers = torch.where(dress, s.skin_colour, trousers)
    for side in (-1, 1):
        c.fill(
            c.edge(c.line(0.36 * side, hip - 0.1, 0.4 * side, hip + 1.9, 0.38, 0.26)),
            trousers * (0.94 if side < 0 else 1),
            0,
        )
        c.fill(c.disc(0.46 * side + 0.1 * s.sin, hip + 2.12, 0.36, 0.17), torch.tensor([0.28, 0.2, 0.22]), 0)
    v = c.v - s.shoulder_v
    half = shoulder(s) * mix(0.8, 0.7, s.woman) + 0.5 * smooth(1.4, 3.3, v)
    d = torch.minimum(c.across(-half, half), torch.minimum(v - 1.4, 3.2 - v))
    c.fill(c.edge(d) * skirt, s.cloth * 0.93, 0)


def draw_arms(c: Canvas, s: Sitter) -> None:
    wide, top = shoulder(s), s.shoulder_v
    bare = s.is_("clothes", "dress", "dungarees")[:, None]
    for side in (-1, 1):
        x = side * (wide - 0.23)
        end = x + 0.24 * side
        c.fill(c.disc(end, top + 2.32, 0.2, 0.22), s.skin_colour, 0)
        arm = c.line(x, top + 0.5, end, top + 2.15, 0.27, 0.2)
        c.fill(c.edge(arm + 0.05, 0.08) * 0.3 * c.edge(c.v - top - 0.75, 0.4), s.cloth * 0.5, 0)
        c.fill(c.edge(arm), torch.where(bare, s.skin_colour, s.cloth * 0.96), 0)
        sleeve = torch.minimum(arm + 0.02, top + 1.0 - c.v)
        c.fill(
            c.edge(sleeve) * bare[:, :, None], torch.where(s.is_("clothes", "dungarees")[:, None], WHITE, s.cloth), 0
        )


def draw_body(c: Canvas, s: Sitter) -> None:
    whole = (c.v[:, -1:] > s.shoulder_v + 1.7).flatten()  # a small figure
    on(c, s, whole, BODY, draw_legs)
    body = c.edge(torso_distance(c, s))
    tee = s.is_("clothes", "dungarees")[:, None]
    c.fill(body, torch.where(tee, WHITE, s.cloth), 0)
    lit = s.lit(c, 0, s.shoulder_v + 1, shoulder(s), 1.3)
    c.fill(body * smooth(0.1, -1.1, lit) * 0.4, mix(s.cloth * 0.5, torch.tensor([0.2, 0.12, 0.35]), 0.3), 0)
    c.fill(body * smooth(0.3, 1.1, lit) * 0.25, mix(s.cloth, WHITE, 0.5), 0)
    c.fill(body * c.glow(0, s.shoulder_v + 0.02, 0.75, 0.3) * 0.28, s.cloth * 0.35, 0)
    for kind, draw in DRAWN.items():
        on(c, s, s.is_("clothes", kind), WINDOWS.get(kind, BODY), draw)
    on(c, s, whole, BODY, draw_arms)
    on(c, s, whole & s.is_("clothes", "dungarees"), BODY, draw_dungarees)


def neckline(c: Canvas, s: Sitter, deep: float, wide: float) -> Tensor:
    """Distance inside an opening around the neck."""
    return c.oval(-0.04 * s.sin, s.shoulder_v - 0.2, s.neck_half * 1.25 + wide, 0.22 + deep)


def skin_in(c: Canvas, s: Sitter, opening: Tensor) -> None:
    opening = torch.minimum(torch.minimum(opening, c.v - s.shoulder_v + 0.45), c.across(*neck_sides(c, s)))
    c.fill(c.edge(opening), s.skin_colour, 0)
    c.fill(c.edge(opening) * c.glow(0, s.shoulder_v - 0.25, 0.6, 0.22) * 0.5, s.skin_shade, 0)


def draw_shirt(c: Canvas, s: Sitter) -> None:
    v, light = s.shoulder_v, mix(s.cloth, WHITE, 0.25)
    x = -0.04 * s.sin
    opening = torch.minimum(c.v - v + 0.6, (v + 0.3 - c.v) * 0.6 - (c.u - x).abs() + 0.1)
    skin_in(c, s, torch.minimum(opening, neckline(c, s, 0.3, 0.1)))
    for side in (-1, 1):
        a = s.neck_half + 0.1
        flap = torch.minimum(c.line(x + side * a, v - 0.22, x + side * 0.16, v + 0.22, 0.12, 0.1), v + 0.3 - c.v)
        c.fill(c.edge(flap + 0.03, 0.05) * 0.3, s.cloth * 0.3, 0)
        c.fill(c.edge(flap), light, 0)
    c.fill(c.edge(torch.minimum(0.012 - (c.u - x).abs(), c.v - v - 0.3)) * 0.7, s.cloth * 0.6, 0)
    for k in range(4):
        c.fill(c.disc(x + 0.05, v + 0.5 + 0.42 * k, 0.035, 0.035), mix(s.cloth, WHITE, 0.75), 0)


def collar(c: Canvas, s: Sitter, colour: Tensor) -> None:
    reach = s.neck_half * 1.2 + 0.06
    t = (c.u + 0.05 * s.sin) / reach
    curve = s.shoulder_v + 0.04 - 0.26 * t.abs() ** 2.2
    skin_in(c, s, torch.minimum(c.above(curve), 0.92 * reach - (c.u + 0.05 * s.sin).abs()))
    seen = c.edge(c.stroke(curve, 0.095 - 4 * (t.abs() - 1).clamp(min=0)))
    c.fill(c.edge(c.stroke(curve + 0.06, 0.1 - 4 * (t.abs() - 1).clamp(min=0)), 0.05) * 0.3, colour * 0.4, 0)
    c.fill(seen, colour, 0)
    ribs = torch.sin(c.u * 55).clamp(0, 1)
    c.fill(seen * ribs * 0.3, colour * 0.6, 0)


def draw_sweater(c: Canvas, s: Sitter) -> None:
    collar(c, s, s.cloth * 0.86)


def draw_stripes(c: Canvas, s: Sitter) -> None:
    v = c.v - s.shoulder_v + 0.1 * (c.u**2) * 0.6
    body = c.edge(torso_distance(c, s)) * c.edge(torch.sin(v * 11) * 0.09)
    c.fill(body, mix(s.cloth, WHITE, 0.82), 0)
    collar(c, s, s.cloth * 0.86)


def draw_hoodie(c: Canvas, s: Sitter) -> None:
    v = s.shoulder_v
    hood = c.oval(0, v - 0.1, s.neck_half + 0.42, 0.36)
    c.fill(c.edge(hood), s.cloth * 0.86, 0)
    c.fill(c.edge(c.oval(0, v - 0.12, s.neck_half + 0.16, 0.27)), s.cloth * 0.55, 0)
    skin_in(c, s, torch.minimum(c.oval(0, v - 0.2, s.neck_half + 0.06, 0.33), v + 0.3 - c.v))
    for side in (-1, 1):
        string = c.line(0.2 * side, v + 0.16, 0.23 * side, v + 0.7, 0.025, 0.025)
        c.fill(c.edge(string), WHITE, 0)
        c.fill(c.disc(0.23 * side, v + 0.73, 0.04, 0.06), WHITE * 0.9, 0)
    pocket = c.box(-0.55, v + 1.35, 0.55, v + 2.0, 0.12)
    c.fill(c.edge(0.02 - pocket.abs()) * 0.6, s.cloth * 0.5, 0)


def draw_suit(c: Canvas, s: Sitter) -> None:
    v, x = s.shoulder_v, -0.04 * s.sin
    jacket = s.cloth * 0.88
    c.fill(c.edge(torso_distance(c, s)), jacket, 0)
    vee = torch.minimum(c.v - v + 0.5, (v + 1.5 - c.v) * 0.34 - (c.u - x).abs())
    c.fill(c.edge(torch.minimum(vee, torso_distance(c, s) + 0.2)), WHITE, 0)
    skin_in(c, s, torch.minimum(c.v - v + 0.5, (v + 0.12 - c.v) * 0.9 - (c.u - x).abs()))
    for side in (-1, 1):
        flap = torch.minimum(
            c.line(x + side * (s.neck_half + 0.05), v - 0.2, x + side * 0.12, v + 0.16, 0.1, 0.07), v + 0.25 - c.v
        )
        c.fill(c.edge(flap + 0.02, 0.04) * 0.25, jacket, 0)
        c.fill(c.edge(flap), WHITE, 0)
        lapel = c.line(x + side * (s.neck_half + 0.2), v - 0.02, x + side * 0.1, v + 1.4, 0.2, 0.03)
        c.fill(c.edge(torch.minimum(lapel, -vee + 0.04)), mix(jacket, WHITE, 0.14), 0)
        c.fill(c.edge(0.012 - (lapel - 0.02).abs()) * c.edge(-vee) * 0.5, jacket * 0.6, 0)
    tie = c.line(x, v + 0.2, x, v + 1.3, 0.07, 0.14)
    c.fill(c.edge(torch.minimum(tie, vee)), s.felt, 0)
    c.fill(c.disc(x, v + 0.16, 0.1, 0.09), s.felt * 0.85, 0)


def draw_dress(c: Canvas, s: Sitter) -> None:
    opening = torch.minimum(neckline(c, s, 0.4, 0.36), torso_distance(c, s) + 0.1)
    body = c.edge(torso_distance(c, s))
    dots = torch.cos(c.u * 14) * torch.cos((c.v - s.shoulder_v) * 14) - 0.72
    c.fill(body * c.edge(dots * 0.1), WHITE, 0)
    skin_in(c, s, opening)
    c.fill(
        c.edge(0.03 - (neckline(c, s, 0.4, 0.36) + 0.03).abs()) * c.edge(torso_distance(c, s)),
        mix(s.cloth, WHITE, 0.6),
        0,
    )
    for k in range(-4, 5):
        t = k / 4.5
        c.fill(
            c.disc(t * (s.neck_half + 0.14), s.shoulder_v + 0.1 - 0.2 * t**2, 0.04, 0.04),
            torch.tensor([0.99, 0.93, 0.8]),
            0,
        )


def draw_dungarees(c: Canvas, s: Sitter) -> None:
    v, body = s.shoulder_v, c.edge(torso_distance(c, s))
    skin_in(c, s, neckline(c, s, 0.1, 0.05))
    bib = join(c.box(-0.55, v + 0.75, 0.55, v + 2.0, 0.08), c.box(-1.1, v + 1.65, 1.1, v + 3, 0.1), 0.2)
    for side in (-1, 1):
        strap = c.line(0.62 * side, v - 0.1, 0.45 * side, v + 0.9, 0.11, 0.1)
        c.fill(body * c.edge(strap), s.cloth, 0)
    c.fill(body * c.edge(bib), s.cloth, 0)
    c.fill(body * c.edge(0.015 - (bib - 0.06).abs()) * 0.7, mix(s.cloth, WHITE, 0.6), 0)
    for side in (-1, 1):
        c.fill(c.disc(0.44 * side, v + 0.86, 0.07, 0.07), torch.tensor([0.95, 0.78, 0.35]), 0)


def draw_coat(c: Canvas, s: Sitter) -> None:
    v = s.shoulder_v
    c.fill(c.edge(torch.minimum(0.014 - c.u.abs(), c.v - v)) * 0.7, s.cloth * 0.5, 0)
    for k in range(3):
        c.fill(c.disc(0.16, v + 0.65 + 0.5 * k, 0.06, 0.06), s.cloth * 0.45, 0)
    end = torch.minimum(c.line(0.22, v + 0.1, 0.3, v + 1.1, 0.17, 0.19), v + 1.2 - c.v)
    for part in (end, c.oval(-0.03 * s.sin, v - 0.08, s.neck_half + 0.34, 0.26)):
        c.fill(c.edge(part + 0.04, 0.06) * 0.3, s.cloth * 0.3, 0)
        c.fill(c.edge(part), s.felt, 0)
        c.fill(c.edge(part) * torch.sin(26 * (c.u * 0.5 + c.v)).clamp(0, 1) * 0.35, s.felt * 0.65, 0)


DRAWN = {
    "shirt": draw_shirt, "sweater": draw_sweater, "striped sweater": draw_stripes, "hoodie": draw_hoodie,
    "suit": draw_suit, "dress": draw_dress, "dungarees": draw_dungarees, "coat": draw_coat,
}  # fmt: skip
