"""The face without its features: ears, outline, colour and marks of the skin."""

import torch
from torch import Tensor

from .canvas import Canvas, mix, smooth
from .identity import COVERING
from .sitter import OUTLINE, Sitter


def face_distance(c: Canvas, s: Sitter, grown: Tensor | float = 0.0) -> Tensor:
    """The outline, larger by `grown`.

    A superellipse whose lower half is shaped by cheekbones, jaw and chin and leans where the face looks.
    """
    chin, v = s.chin_v + grown, c.v
    down = (v / chin).clamp(0, 1)
    half = (s.width + grown) * (1 + mix(-0.02, 0.06, s.cheekbones) * torch.exp(-(((v - 0.22) / 0.26) ** 2)))
    half = half * (1 - mix(0.34, 0.06, s.jaw) * smooth(0.1, 0.95, down))
    power = mix(2.15, 3.0, s.jaw) + mix(-0.1, 0.35, s.chin)
    high = ((v + 0.05) / -1.05).clamp(0, 1)
    end = torch.where(v > 0, (1 - down**power).clamp(min=0) ** (1 / power), (1 - high**2.3).clamp(min=0) ** 0.43)
    middle = s.sin * (0.06 + 0.3 * smooth(-0.1, 1.0, down))
    # The far cheek goes in under the eye of a turned head.
    bite = 0.07 * s.sin.abs() * torch.exp(-(((v - 0.02) / 0.2) ** 2))
    left = middle - half * end + bite * (s.sin < 0)
    right = middle + half * end - bite * (s.sin > 0)
    return torch.minimum(c.across(left, right), chin - v)


def ear_places(s: Sitter) -> list[tuple]:
    """Of either ear: the side, where it is, how wide, whether it is seen, whether before the face."""
    found, bare = [], ~s.is_("hair_style", *COVERING)[:, None, None]
    for side in (-1, 1):
        away = side * s.sin  # > 0 on the far side
        x = side * s.width * (0.98 + 0.04 * s.ear_angle) + s.sin * mix(0.0, 0.6, (-away / 0.6).clamp(0, 1))
        found.append((side, x, 1 + 0.3 * (-away).clamp(min=0), (1 - 3 * away).clamp(0, 1) * bare, away < -0.25))
    return found


def draw_ears(c: Canvas, s: Sitter, before: bool) -> None:
    size = mix(0.2, 0.29, s.ear_size)
    for side, x, wide, seen, front in ear_places(s):
        seen = seen * (front if before else 1.0)
        if not seen.any():
            continue
        rx = size * mix(0.5, 0.85, s.ear_angle) * wide
        v = 0.17
        c.fill(c.disc(x, v, rx, size) * seen, s.skin_colour)
        c.fill(c.disc(x + 0.02 * side, v + 0.01, 0.62 * rx, 0.66 * size) * seen, s.skin_shade)
        c.fill(c.disc(x + 0.0 * side, v + 0.06, 0.45 * rx, 0.45 * size) * seen, s.skin_colour)


def draw_earrings(c: Canvas, s: Sitter) -> None:
    size = mix(0.2, 0.29, s.ear_size)
    gold = torch.tensor([0.95, 0.75, 0.3])
    for _, x, wide, seen, _ in ear_places(s):
        v = 0.17 + 0.92 * size
        c.fill(c.disc(x, v, 0.05, 0.05) * seen * (s.earrings == 1), gold, 0)
        ring = 0.026 - c.oval(x, v + 0.12, 0.105 * wide, 0.12).abs()
        c.fill(c.edge(ring) * seen * (s.earrings == 2), gold, 0)


def draw_face(c: Canvas, s: Sitter) -> Tensor:
    """Returns how much of each pixel the face covers."""
    c.fill(c.disc(-0.2 * s.sin, -0.14, s.width, 0.9), s.skin_colour)  # the back of a turned head
    face = c.edge(face_distance(c, s))
    c.fill(face, s.skin_colour)
    lit = s.lit(c, 0.15 * s.sin, 0.05, s.width, 1.0)
    c.fill(face * smooth(0.05, -1.15, lit) * 0.75, s.skin_shade)
    c.fill(face * smooth(0.2, 1.1, lit) * 0.4, s.skin_light)
    cheek = mix(0.05, 0.85, s.cheeks)
    for side in (-1, 1):
        x = s.turned(0.47 * side * s.width / 0.74, 0.6)
        wide = 0.2 * s.narrowed(0.44 * side * torch.ones_like(s.width), 0.7)
        c.fill(face * c.glow(x, 0.4, wide, 0.15) * cheek, s.blush)
        smile = torch.isin(s.expression, torch.tensor([1.0, 2.0]))
        c.fill(face * c.glow(x, 0.36, 0.6 * wide, 0.09) * 0.4 * smile, s.skin_light)
    c.fill(face * c.glow(s.turned(0.0, 0.7), -0.42, 0.3, 0.2) * 0.3, s.skin_light)
    c.fill(face * c.glow(s.turned(0.0, 0.85), s.chin_v - 0.13, 0.14, 0.07) * 0.3, s.skin_light)
    return face


def draw_nose(c: Canvas, s: Sitter) -> None:
    v, half = s.nose_v, mix(0.1, 0.19, s.nose_width)
    x, root = s.turned(0.0, 0.9), s.turned(0.0, 0.62)
    turn = s.sin.abs()
    # The bridge: a soft shade on the side that is turned away, firm when the head is turned.
    for side in (-1, 1):
        away = (side * s.sin).clamp(min=0) / 0.58
        strength = mix(0.05, 0.75, s.nose_bridge) * (1 - turn) + 0.85 * away
        curve = c.line(root + 0.085 * side, -0.06, x + 0.05 * side, v - 0.08, 0.03, mix(0.03, 0.015, away))
        c.fill(c.edge(curve, mix(0.09, 0.0, away)) * strength, s.skin_shade)
        wing = c.disc(x + side * 0.72 * half, v + 0.005, 0.4 * half + 0.01, 0.075, 0.02)
        c.fill(wing * 0.55 * (1 - away), s.skin_shade)
    ball = c.disc(x + 0.1 * s.sin, v - 0.02, 0.66 * half, mix(0.06, 0.135, s.nose_tip), 0.04)
    c.fill(ball, mix(s.skin_colour, s.blush, mix(0.0, 0.5, s.nose_tip[:, 0])))
    t = (c.u - x) / half
    under = v + mix(0.04, 0.1, s.nose_tip) - 0.03 * t**2 * torch.sign(s.nose_tip - 0.4)
    thick = mix(0.02, 0.044, s.nose_tip) * (1 - (t / 0.82) ** 2)
    c.fill(c.edge(c.stroke(under, thick)) * 0.9, mix(s.skin_shade, OUTLINE, 0.3))
    c.tint(c.glow(x - 0.02 + 0.06 * s.sin, v - 0.06, 0.05, 0.05) * 0.75, s.skin_light)
    c.tint(c.glow(mix(root, x, 0.5), 0.1, 0.045, 0.12) * 0.4, s.skin_light)


def draw_marks(c: Canvas, s: Sitter, face: Tensor) -> None:
    """Freckles, mole, scar, dimples, a cleft chin and what age does."""
    brown, turn = s.skin_colour * torch.tensor([0.72, 0.53, 0.42]), s.turned
    if (s.freckles > 0).any():
        dots = torch.zeros_like(face)
        for i in range(16):
            # A low-discrepancy scatter over nose and cheeks, shifted by the pattern.
            a, b = (0.618 * i + 3.1 * s.freckle_pattern) % 1, (0.57 * i + 5.3 * s.freckle_pattern) % 1
            a, b = (
                a + 0.06 * torch.sin(i * i + 9 * s.freckle_pattern),
                b + 0.1 * torch.sin(2.3 * i * i + s.freckle_pattern),
            )
            x = turn((2 * a - 1) * 0.56 * s.width / 0.74, 0.68)
            size = mix(0.016, 0.03, (0.37 * i) % 1) * (0.5 + 0.7 * s.freckles)
            dots += c.edge(size - ((c.u - x) ** 2 + (c.v - 0.2 - 0.26 * b) ** 2).sqrt_())
        c.fill(face * dots.clamp(max=1) * (s.freckles > 0) * 0.8, brown)
    if (s.mole > 0).any():
        side = torch.sign(s.mole_x - 0.5)
        x, y = turn((side * 0.16 + (s.mole_x - 0.5) * 0.62) * s.width / 0.74, 0.66), mix(0.26, 0.84, s.mole_y)
        c.fill(face * c.disc(x, y, 0.048 * s.mole + 1e-3, 0.048 * s.mole + 1e-3) * (s.mole > 0), brown * 0.5)
    pale = mix(s.skin_light, s.blush, 0.3)
    places = ((-0.5, 0.22, -0.36, 0.5), (0.5, 0.22, 0.36, 0.5), (0.26, -0.36, 0.36, -0.12), (0.03, 0.78, 0.16, 0.92))
    for index, (x0, y0, x1, y1) in enumerate(places):
        drawn = s.scar == index + 1
        if drawn.any():
            a, b = turn(x0, 0.66), turn(x1, 0.68)
            c.fill(face * c.edge(c.line(a, y0, b, y1, 0.042, 0.026)) * drawn * 0.8, s.skin_shade)
            c.fill(face * c.edge(c.line(a, y0, b, y1, 0.024, 0.014)) * drawn, pale)
    if (s.cleft > 0).any():
        cleft = c.line(turn(0.0, 0.86), s.chin_v - 0.2, turn(0.0, 0.86), s.chin_v - 0.03, 0.03, 0.016)
        c.fill(face * c.edge(cleft) * (s.cleft > 0) * (0.45 + 0.45 * s.cleft), s.skin_shade * 0.82)
    draw_lines(c, s, face)


def draw_lines(c: Canvas, s: Sitter, face: Tensor) -> None:
    """Of age and of laughter."""
    smile, crease, turn = (s.expression == 1) | (s.expression == 2), s.skin_shade * 0.9, s.turned
    old = ((s.age - 0.45) / 0.5).clamp(0, 1)
    for side in (-1, 1):
        if (s.dimples > 0).any():
            x = turn(0.41 * side, 0.66)
            c.fill(face * c.disc(x, s.mouth_v - 0.03, 0.026, 0.065) * (s.dimples > 0) * (0.35 + 0.55 * smile), crease)
        # From the nose to the corner of the mouth, and under the eye.
        fold = c.line(turn(0.2 * side, 0.75), s.nose_v + 0.02, turn(0.34 * side, 0.7), s.mouth_v - 0.04, 0.02, 0.01)
        c.fill(face * c.edge(fold, 0.02) * (0.8 * old).maximum(0.35 * smile), crease)
        if (old > 0).any():
            bow = 0.5 * (c.u - turn(0.31 * side, 0.6)) ** 2
            c.fill(face * c.edge(c.stroke(0.23 - bow, 0.014 - bow)) * 0.8 * old, crease)
    if (s.age > 0.55).any():
        t = (c.u - turn(0.0, 0.72)) / 0.3
        for i in range(3):
            line = c.stroke(-0.42 - 0.1 * i + 0.015 * torch.cos(3 * t), 0.014 * (1 - t**2))
            c.fill(face * c.edge(line) * 0.7 * smooth(0.55 + 0.1 * i, 0.8 + 0.05 * i, s.age), crease)
