"""Whom a canvas shows: the numbers of several people with their looks, and where a turned head has its parts.

Head coordinates: the eyes at v = 0, the chin near 1, the crown near -1.1; a face is about 1.4 wide.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields

import torch
from torch import Tensor

from .canvas import Canvas, mix, rgb
from .identity import EYE_COLOURS, HAIR_COLOURS, Being
from .look import CAT_CLOTHES, CLOTHES, COLOURS, EXPRESSIONS, GLASSES, HATS, Look

SKINS = ("#fde0cc", "#f6c9a6", "#e3a97c", "#bf8154", "#8e5836", "#613a27")
ANGLE = 0.62  # radians, of a yaw of 1
WORN = {"expression": EXPRESSIONS, "hat": HATS, "glasses": GLASSES, "clothes": CLOTHES + CAT_CLOTHES}
# How far hair rises over the skull, and stands off to its sides.
BULK = {
    "bald": (0.0, 0.0), "buzz": (0.03, 0.025), "crop": (0.19, 0.05), "quiff": (0.3, 0.04), "spiky": (0.24, 0.06),
    "curly": (0.24, 0.15), "afro": (0.5, 0.5), "pixie": (0.15, 0.07), "bob": (0.14, 0.12), "long": (0.12, 0.09),
    "wavy": (0.16, 0.13), "ringlets": (0.24, 0.26), "ponytail": (0.1, 0.04), "bun": (0.1, 0.045),
    "braids": (0.1, 0.05), "mohawk": (0.0, 0.015), "thinning": (-0.03, 0.07),
}  # fmt: skip
OUTLINE = torch.tensor([0.24, 0.13, 0.2])


def along(stops: Tensor, x: Tensor) -> Tensor:
    """The colour [F, 3] at x [F] in 0..1 of the ramp through stops [n, 3]."""
    at = x * (len(stops) - 1)
    low = at.long().clamp(max=len(stops) - 2)
    return torch.lerp(stops[low], stops[low + 1], (at - low)[:, None])


class Sitter:
    """Every field of an identity and a Look as [F, 1, 1], colours as [F, 3]; what else is measured, subclasses add."""

    def __init__(self, beings: list[Being], looks: list[Look], light: Tensor):
        """light: [F, 2], the direction that it comes from."""
        self.words = WORN | beings[0].choices()
        for field in fields(beings[0]):
            values = [getattr(being, field.name) for being in beings]
            setattr(self, field.name, torch.tensor(values, dtype=torch.float32)[:, None, None])
        for name, words in WORN.items():
            values = [words.index(getattr(look, name)) for look in looks]
            setattr(self, name, torch.tensor(values, dtype=torch.float32)[:, None, None])
        self.light_u, self.light_v = light.T[:, :, None, None]
        self.yaw = torch.tensor([look.yaw for look in looks])[:, None, None]
        self.sin, self.cos = torch.sin(ANGLE * self.yaw), torch.cos(ANGLE * self.yaw)
        self.cloth = rgb(*COLOURS.values())[[list(COLOURS).index(look.colour) for look in looks]]
        self.felt = rgb(*COLOURS.values())[[list(COLOURS).index(look.hat_colour) for look in looks]]
        self.colours()
        self.measures()

    def __getitem__(self, rows: Tensor) -> Sitter:
        part = object.__new__(type(self))
        for name, value in vars(self).items():
            setattr(part, name, value[rows] if isinstance(value, Tensor) else value)
        return part

    def is_(self, name: str, *values: str) -> Tensor:
        """Whether a choice is one of these: [F]."""
        return torch.isin(
            getattr(self, name).flatten(), torch.tensor([float(self.words[name].index(v)) for v in values])
        )

    def lit(self, c: Canvas, x: Tensor | float, v: Tensor | float, rx: Tensor | float, ry: Tensor | float) -> Tensor:
        """How much a ball is turned to the light: -1 in the deepest shade, 1 in the brightest spot."""
        return (self.light_u * (c.u - x) / rx + self.light_v * (c.v - v) / ry).clamp(-1.2, 1.2)

    def row(self, name: str, table: dict[str, tuple]) -> list[Tensor]:
        """The numbers, each [F, 1, 1], that a table has for a choice."""
        rows = torch.tensor([table[value] for value in self.words[name]], dtype=torch.float32)
        return list(rows[getattr(self, name).flatten().long()].T[:, :, None, None])

    def turned(self, x: Tensor | float, depth: float) -> Tensor:
        """Where a point of the head at x, `depth` before its axis, is seen."""
        return x * self.cos + depth * self.sin

    def narrowed(self, x: Tensor, depth: float) -> Tensor:
        """How much of its width something at x keeps: the far side of a turned head is seen aslant."""
        return (self.cos - self.sin * x / depth).clamp(0.1, 1.08)

    def wave(self, x: Tensor, *counts: float) -> Tensor:
        """An uneven wave over x, other for everybody, about -1..1."""
        return sum(torch.sin(n * x + (7 + 3 * n) * self.strands) for n in counts) / len(counts) ** 0.7


class PersonSitter(Sitter):
    def colours(self) -> None:
        skin = along(rgb(*SKINS), self.skin.flatten())
        tone = self.undertone[:, 0] - 0.5
        self.skin_colour = (skin + tone * torch.tensor([-0.02, 0.03, -0.07])).clamp(0, 1)
        self.skin_shade = self.skin_colour * torch.tensor([0.83, 0.68, 0.68]) + torch.tensor([0.02, 0.0, 0.03])
        self.skin_light = mix(self.skin_colour, torch.tensor([1.0, 0.95, 0.86]), 0.45)
        self.blush = mix(self.skin_colour, torch.tensor([0.93, 0.33, 0.32]), 0.5)
        hair = rgb(*HAIR_COLOURS.values())[self.hair_colour.flatten().long()]
        self.hair_base = (hair * mix(0.84, 1.14, self.hair_shade[:, 0])).clamp(0, 1)
        self.hair_dark = self.hair_base * torch.tensor([0.66, 0.58, 0.66]) + torch.tensor([0.0, 0.0, 0.02])
        self.hair_light = mix(self.hair_base, torch.tensor([1.0, 0.93, 0.82]), 0.38)
        self.eye = rgb(*EYE_COLOURS.values())[self.eye_colour.flatten().long()]
        self.brow = self.hair_dark * mix(0.55, 0.95, self.brow_shade[:, 0])
        lips = mix(self.skin_colour * torch.tensor([0.84, 0.55, 0.55]), torch.tensor([0.78, 0.3, 0.32]), 0.25)
        self.lips = mix(lips, torch.tensor([0.8, 0.1, 0.22]), 0.9 * self.lip_colour[:, 0])

    def measures(self) -> None:
        self.width = mix(0.69, 0.85, self.face_width)
        self.chin_v = mix(0.91, 1.07, self.face_height)
        self.eye_x = mix(0.285, 0.375, self.eye_spacing)
        self.eye_v = torch.zeros_like(self.width) + 0.03
        self.nose_v = mix(0.28, 0.4, self.nose_length)
        self.mouth_v = mix(0.56, 0.66, self.mouth_height) * self.chin_v / 0.99
        self.neck_half = mix(0.27, 0.42, self.neck_width)
        self.shoulder_v = mix(1.24, 1.4, self.neck_length)
        rise, side = self.row("hair_style", BULK)
        volume = mix(0.75, 1.35, self.hair_volume)
        self.rise, self.side = rise.clamp(0, 0.6) * volume, side.clamp(0.02, 0.2) * volume


def on(canvas: Canvas, who, rows: Tensor | None, box: tuple, draw: Callable, *more) -> None:
    """Let `draw` paint in the box (left, top, right, bottom) of those in rows: bool [F], or None for all."""
    rows = torch.arange(len(canvas.paint)) if rows is None else rows.nonzero()[:, 0]
    if len(rows):
        sub = canvas.cut(rows, *box)
        draw(sub, who if len(rows) == len(canvas.paint) else who[rows], *more)
        canvas.paste(sub)
