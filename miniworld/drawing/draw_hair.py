"""Hair: one silhouette, laid dark behind the neck and, but for the opening around the face, light before it."""

import torch
from torch import Tensor

from .canvas import Canvas, meet, mix, smooth
from .draw_head import ear_places
from .sitter import BULK, Sitter

BACK, FRINGE, PART, SWEEP = range(4)
# bump: size and number of bumps around it; pointed: outward or inward.
# line: how it falls over the forehead. burn: how low it grows before the ears. drop: how low the length hangs, from
# and to, 0 if it does not. wave, tuck: of the length's edge. curl: texture of curls, not strands.
# bump, count, pointed, line, burn, drop from, to, wave, tuck, curl
STYLES = {
    "bald": (0.0, 0, 0, BACK, -2.0, 0.0, 0.0, 0.0, 0.0, 0),
    "buzz": (0.0, 0, 0, BACK, 0.1, 0.0, 0.0, 0.0, 0.0, 0),
    "crop": (0.012, 19, 0, SWEEP, 0.12, 0.0, 0.0, 0.0, 0.0, 0),
    "quiff": (0.03, 9, 0, BACK, 0.08, 0.0, 0.0, 0.0, 0.0, 0),
    "spiky": (0.15, 17, 1, FRINGE, 0.12, 0.0, 0.0, 0.0, 0.0, 0),
    "curly": (0.06, 18, 0, FRINGE, 0.1, 0.0, 0.0, 0.0, 0.0, 1),
    "afro": (0.035, 34, 0, BACK, 2.0, 0.0, 0.0, 0.0, 0.0, 1),
    "pixie": (0.015, 13, 1, SWEEP, 0.3, 0.0, 0.0, 0.0, 0.0, 0),
    "bob": (0.0, 0, 0, FRINGE, 3.0, 0.62, 1.02, 0.0, 0.14, 0),
    "long": (0.0, 0, 0, PART, 3.0, 1.3, 2.3, 0.01, 0.03, 0),
    "wavy": (0.0, 0, 0, SWEEP, 3.0, 1.2, 2.1, 0.06, 0.03, 0),
    "ringlets": (0.05, 20, 0, PART, 3.0, 0.95, 1.7, 0.1, 0.0, 1),
    "ponytail": (0.0, 0, 0, BACK, 0.12, 0.0, 0.0, 0.0, 0.0, 0),
    "bun": (0.0, 0, 0, PART, 0.06, 0.0, 0.0, 0.0, 0.0, 0),
    "braids": (0.0, 0, 0, PART, 0.2, 0.0, 0.0, 0.0, 0.0, 0),
    "mohawk": (0.0, 0, 0, BACK, 0.0, 0.0, 0.0, 0.0, 0.0, 0),
    "thinning": (0.03, 14, 0, BACK, 0.14, 0.0, 0.0, 0.0, 0.0, 0),
}


def hair_box(s: Sitter) -> tuple:
    """Left, top, right and bottom of all hair but what `draw_extra_behind` and `draw_braids` add."""
    *_, burn, short, long, _, _, _ = s.row("hair_style", STYLES)
    half = s.width + 0.25 + s.row("hair_style", BULK)[1] * mix(0.75, 1.35, s.hair_volume)
    low = torch.where(short > 0, mix(short, long, s.hair_length) + 0.15, torch.where(burn > 1, 1.8, 0.95))
    return -half - 0.1, -1.25 - 1.2 * s.rise, half + 0.1, low


class Hair:
    """The measures of the hair of those on a canvas, and the distances to its borders."""

    def __init__(self, c: Canvas, s: Sitter):
        bump, count, pointed, self.line, burn, short, long, wave, tuck, self.curl = s.row("hair_style", STYLES)
        self.c, self.s, volume = c, s, mix(0.75, 1.35, s.hair_volume)
        covered = (s.hat > 0) & (s.hat != 6) & (s.hat != 7)
        rise, side = (value * volume for value in s.row("hair_style", BULK))
        rise, side = torch.where(covered, 0.02, rise), torch.where(covered, side.clamp(max=0.2), side)
        self.x, self.v = -0.2 * s.sin, torch.full_like(s.width, -0.1)
        self.rx, self.ry = s.width + 0.02 + side + 0.05 * s.sin.abs(), 0.95 + rise
        a, b = (c.u - self.x) / self.rx, (c.v - self.v) / self.ry
        self.angle = torch.atan2(a, -b)  # 0 at the crown
        self.r = (
            (a * a + b * b - 0.36 * a.square().clamp(max=1.2) * b.square().clamp(max=1.2)).clamp(min=0).sqrt()
        )  # a little square
        self.cover, self.drop = short > 0, mix(short, long, s.hair_length)
        hill = (torch.sin(self.angle * count / 2 + 6 * s.strands)).abs()
        hill = torch.where(pointed > 0, 1 - hill, hill)
        uneven = 1 + 0.35 * torch.sin(3 * self.angle + 9 * s.strands)
        cap = (1 - self.r) * self.rx + bump * (hill - 0.4) * uneven * mix(0.6, 1.4, s.hair_wave)
        nape = torch.where(self.cover, self.drop, torch.full_like(burn, 0.42).maximum(burn + 0.1))
        down = ((c.v - self.v) / (self.drop - self.v).clamp(min=0.3)).clamp(0, 1.2)
        half = self.rx * (1 + 0.1 * down * (wave > 0.02) + 0.02 * down) - tuck * smooth(0.55, 1.05, down)
        sway = wave * mix(0.5, 1.4, s.hair_wave) * torch.sin(7.5 * c.v + 6 * s.strands) * down
        jag = 0.05 * s.wave(7 * c.u, 1.0, 2.2) + 0.28 * torch.exp(-(((c.u - self.x) / 0.6) ** 2)) * 0
        end = self.drop - 0.16 * ((c.u - self.x) / self.rx) ** 4 + jag * (self.drop > 1.1)
        curtain = torch.minimum(
            meet(c.across(self.x - half + sway, self.x + half + sway), end - c.v, 0.25), c.v - self.v
        )
        self.outer = torch.where(
            self.cover, torch.maximum(torch.minimum(cap, self.v + 0.02 - c.v), curtain), torch.minimum(cap, nape - c.v)
        )
        self.burn = burn

    def opening(self) -> Tensor:
        """Distance inside what is seen of the face."""
        c, s = self.c, self.s
        x = s.turned(0.0, 0.72)
        t = (c.u - x) / (0.92 * s.width)
        high = mix(-0.64, -0.86, s.hairline)
        back = high + 0.34 * t**2 - 0.07 * torch.exp(-(((t.abs() - 0.45) / 0.22) ** 2)) * smooth(0.4, 1.0, s.hairline)
        jag = mix(0.012, 0.05, s.strands)
        fringe = mix(-0.56, -0.26, s.fringe) + 0.06 * t**2 + jag * s.wave(7 * t, 1.0, 1.9) - 0.06 * (1 - s.fringe)
        p = (s.parting - 0.5) * 0.7
        part = high - 0.06 + mix(0.5, 0.8, s.fringe) * (t - p).abs() ** 1.35
        q = torch.sign(s.parting - 0.5) * mix(0.35, 0.75, (2 * s.parting - 1).abs())
        across = (t - q) * torch.sign(q)
        sweep = (
            high
            - 0.04
            + torch.where(across > 0, 0.9 * across.abs() ** 1.2, mix(0.26, 0.46, s.fringe) * across.abs() ** 0.8)
        )
        line = torch.where(
            self.line == BACK,
            back,
            torch.where(self.line == FRINGE, fringe, torch.where(self.line == PART, part, sweep)),
        )
        # To the sides: before the ears of short hair the face is open, long hair frames it.
        frame = torch.where(self.cover, mix(0.93, 0.84, s.fringe), torch.full_like(s.width, 0.97))
        spread = (0.12 + 0.25 * smooth(0.85, 1.5, c.v)) * smooth(0.1, 1.1, c.v)
        left, right = (
            s.turned(-frame * s.width, 0.22) - spread * (1 - 1.6 * s.sin.clamp(min=0)),
            s.turned(frame * s.width, 0.22) + spread * (1 + 1.6 * s.sin.clamp(max=0)),
        )
        short, left_ear, right_ear = ~self.cover, *(place[1] for place in ear_places(s))
        left = torch.where(short & (s.sin < -0.2), left, torch.where(short & (s.sin > 0.2), left_ear + 0.02, left))
        right = torch.where(short & (s.sin < -0.2), right_ear - 0.02, right)
        sway = 0.03 * s.wave(5 * c.v, 1.0, 1.7) * self.cover * smooth(-0.1, 0.6, c.v)
        return meet(c.below(line), c.across(left + sway, right + sway), 0.22)

    def before(self) -> Tensor:
        """Distance inside the hair before the face."""
        s, c = self.s, self.c
        left_ear, right_ear = (place[1] for place in ear_places(s))
        # Behind the ear of a turned head hair goes on to the nape.
        behind = torch.where(s.sin > 0.2, left_ear - c.u, torch.where(s.sin < -0.2, c.u - right_ear, -1.0))
        low = torch.maximum(self.burn - 0.03 - c.v, behind)
        return torch.minimum(torch.minimum(self.outer, -self.opening()), low)


def draw_back_hair(c: Canvas, s: Sitter, hair: Hair) -> None:
    behind = c.edge(hair.outer)
    c.fill(behind, mix(s.hair_dark, s.hair_base, 0.25))
    strands = s.wave((c.u - hair.x) / (c.v + 2.2) * 46, 1.0, 1.9)
    c.fill(behind * strands.clamp(0, 1) * 0.35, s.hair_dark * 0.85)


def cast_shadow(c: Canvas, s: Sitter, front: Tensor) -> None:
    """The hair's shadow on what there is of the head."""
    down = (0.075 / c.soft).round().flatten().long().tolist()
    cast = torch.stack([alpha.roll(by, 0) for alpha, by in zip(front, down)]) * c.paint[:, 4]
    c.paint[:, :3] *= 1 - 0.7 * cast[:, None] * (1 - torch.tensor([0.83, 0.66, 0.66]))[:, None, None]


def draw_front_hair(c: Canvas, s: Sitter, hair: Hair) -> None:
    front = c.edge(hair.before())
    buzz = s.is_("hair_style", "buzz", "mohawk")[:, None, None].float()
    thinning = s.is_("hair_style", "thinning")[:, None, None]
    front = front * mix(1.0, 0.72, buzz)
    front = torch.where(thinning, front * smooth(0.5, 0.62, hair.angle.abs() / 1.6), front)
    cast_shadow(c, s, front * ~s.is_("hair_style", "buzz", "thinning", "mohawk")[:, None, None])
    c.fill(front, s.hair_base)
    part = s.turned(0.0, 0.5) + (s.parting - 0.5) * 0.5
    flow = (c.u - part) / (c.v + 1.75 + 0.3 * hair.curl)
    strands = s.wave(flow * mix(26.0, 15.0, s.hair_wave) + 0.5 * torch.sin(4 * c.v), 1.0, 1.7, 2.9)
    curls = torch.sin(hair.r * 24 + 2.2 * torch.sin(hair.angle * 9 + 5 * s.strands)) * torch.cos(hair.angle * 15)
    texture = torch.where(hair.curl > 0, 1.05 * curls, strands) * (1 - 0.7 * buzz)
    c.fill(front * (texture - 0.1).clamp(0, 1) * 0.55, s.hair_dark)
    c.fill(front * (-texture - 0.25).clamp(0, 1) * 0.5, s.hair_light)
    # A shine across the strands, and shade toward the lower ends.
    shine = torch.exp(-(((hair.r - 0.8 + 0.05 * texture) / 0.075) ** 2)) * smooth(1.5, 0.6, (hair.angle + 0.35).abs())
    c.fill(front * shine * (0.75 - 0.45 * hair.curl) * (1 - buzz), s.hair_light)
    c.fill(front * smooth(0.0, 1.6, c.v) * 0.4, s.hair_dark)
    lit = s.lit(c, hair.x, -0.2, hair.rx, hair.ry)
    c.fill(front * smooth(0.1, -1.2, lit) * 0.6, s.hair_dark * 0.85)
    c.fill(front * smooth(0.25, 1.2, lit) * 0.45, s.hair_light)
    dyed = torch.where(s.streak == 1, part - 0.3, part + 0.3)
    lock = c.edge(0.085 - (flow - (dyed - part) / 1.0).abs(), mix(0.02, 0.14, hair.curl)) * (s.streak > 0)
    c.fill(
        front * lock * mix(0.9, 0.6, hair.curl),
        torch.where(s.hair_colour[:, 0] >= 5, torch.tensor([0.45, 0.3, 0.62]), torch.tensor([0.95, 0.88, 0.72])),
    )


def draw_extra_behind(c: Canvas, s: Sitter) -> None:
    """A ponytail or a bun."""
    worn = (s.hat == 0) | (s.hat == 8)
    tail, bun = (s.is_("hair_style", name)[:, None, None] for name in ("ponytail", "bun"))
    side = torch.where(s.yaw.abs() > 0.4, -torch.sign(s.yaw), torch.sign(s.parting - 0.5))
    length = mix(0.8, 1.9, s.hair_length)
    if tail.any():
        sway = side * (0.82 + 0.3 * torch.sin(2.2 * (c.v + 0.7).clamp(0, 1.4)))
        half = mix(0.16, 0.27, s.hair_volume) * (1 - smooth(0.3, 1.0, (c.v + 0.6) / length) ** 2)
        wave = 0.05 * s.hair_wave * torch.sin(8 * c.v)
        d = torch.minimum(
            c.across(sway - half + wave, sway + half + wave), torch.minimum(c.v + 0.72, length - 0.62 - c.v)
        )
        d = torch.maximum(d, c.oval(0.72 * side, -0.55, 0.3, 0.22))
        lay(c, s, c.edge(d) * tail, (c.u - sway) * 26)
    if bun.any():
        size = mix(0.24, 0.36, s.hair_volume)
        d = c.oval(-0.3 * s.sin, -1.05 - 0.72 * size, size * 1.1, size)
        lay(c, s, c.edge(d) * bun * worn, (c.u + c.v) * 20)


def draw_crest(c: Canvas, s: Sitter) -> None:
    """Of a mohawk: from the forehead over the crown; from the side it is long."""
    half = mix(0.16, 0.24, s.hair_volume) + 0.62 * s.sin.abs() * smooth(-0.75, -1.2, c.v)
    x = s.turned(0.0, 0.72) * smooth(-1.3, -0.7, c.v) - 0.12 * s.sin * smooth(-0.8, -1.2, c.v)
    t = (c.u + 0.12 * s.sin) / (0.2 + 0.62 * s.sin.abs())
    spikes = 0.16 * torch.sin(5 * t + 5 * s.strands).abs()
    top = -1.38 - mix(0.05, 0.35, s.hair_length) + 0.22 * t**2 + spikes
    d = torch.minimum(
        c.across(x - half, x + half), torch.minimum(c.v - top, -0.66 - 0.5 * (c.u - s.turned(0.0, 0.72)).abs() - c.v)
    )
    lay(c, s, c.edge(d), t * 7)


def lay(c: Canvas, s: Sitter, alpha: Tensor, flow: Tensor) -> None:
    strands = s.wave(flow, 1.0, 1.7)
    c.fill(alpha, s.hair_base)
    c.fill(alpha * (strands - 0.1).clamp(0, 1) * 0.6, s.hair_dark)
    c.fill(alpha * (-strands - 0.3).clamp(0, 1) * 0.6, s.hair_light)


def draw_braids(c: Canvas, s: Sitter) -> None:
    """Two braids before the shoulders."""
    end = mix(1.2, 2.1, s.hair_length)
    for side in (-1, 1):
        x = (
            (0.98 * s.width + 0.02) * side
            - 0.12 * s.sin
            + 0.16 * side * (side * s.sin).clamp(min=0)
            + 0.1 * side * smooth(0.2, 1.2, c.v)
        )
        knots = (c.v * 6.2).remainder(1)
        half = (
            mix(0.1, 0.16, s.hair_volume)
            * (0.8 + 0.4 * torch.sin(3.14 * knots.abs()).abs())
            * (1 - 0.35 * smooth(0.3, 2.0, c.v))
        )
        d = torch.minimum(c.across(x - half, x + half), torch.minimum(c.v - 0.1, end - c.v))
        alpha = c.edge(d)
        c.fill(alpha, s.hair_base)
        weave = torch.sin(39 * (c.v + 0.35 * (c.u - x).abs()))
        c.fill(alpha * weave.clamp(0, 1) * 0.6, s.hair_dark)
        c.fill(alpha * c.edge(0.03 - (c.u - x + 0.04).abs(), 0.06) * 0.5, s.hair_light)
        tie = torch.minimum(d, 0.045 - (c.v - end + 0.16).abs())
        c.fill(c.edge(tie), s.felt, 0)
        tuft = c.oval(x.mean(1, keepdim=True), end + 0.02, 0.085, 0.13)
        c.fill(c.edge(torch.minimum(tuft, c.v - end + 0.12)), s.hair_base)
