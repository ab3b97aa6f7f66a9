"""A picture to be drawn: a place at a time of day, the light, and who stands where."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from .identity import Cat, Person
from .look import Look

INDOORS = ("room", "library", "kitchen", "stage")
OUTDOORS = ("garden", "street", "beach", "forest", "mountains", "night sky")
PLACES = INDOORS + OUTDOORS
TIMES = ("day", "sunset", "night")
LIGHTS = ("left", "right", "above")
SIZES = {"close": 0.6, "bust": 0.43, "small": 0.165}  # half the height of a head, where the picture is -1..1


@dataclass(frozen=True)
class Figure:
    """Somebody at x, y (the middle of the head, -1..1) with a head that is 2 * size high."""

    who: Person | Cat
    look: Look = field(default_factory=Look)
    x: float = 0.0
    y: float = 0.0
    size: float = SIZES["bust"]


@dataclass(frozen=True)
class Scene:
    """figures: from the back to the front. variant: four numbers 0..1 by which places of a kind differ."""

    figures: tuple[Figure, ...]
    place: str = "room"
    time: str = "day"
    light: str = "left"
    variant: tuple[float, ...] = (0.5, 0.5, 0.5, 0.5)

    @property
    def shot(self) -> str:
        """The name of the largest figure's size."""
        size = max((figure.size for figure in self.figures), default=0.0)
        return "close" if size > 0.52 else "bust" if size > 0.27 else "small"


def sits(who: Person | Cat, shot: str) -> float:
    """How much lower a whole cat's head is than a person's."""
    return 0.44 if shot == "small" and isinstance(who, Cat) else 0.0


def draw_scene(people: list[Person | Cat], generator: torch.Generator) -> Scene:
    """These one or two in a random scene: half of all pictures show head and shoulders, 30 % a face from near and
    20 % a small figure; two stand left and right."""
    near, *variant = torch.rand(5, generator=generator).tolist()
    x, y, scale, tilt = (torch.rand(4, generator=generator) * 2 - 1).tolist()
    place, time, light = (torch.randint(n, (), generator=generator).item() for n in (len(PLACES), 3, 3))
    looks = [Look.draw(generator, "cat" if isinstance(who, Cat) else who.word("woman")) for who in people]
    shot = "bust" if near < 0.5 else "close" if near < 0.8 else "small"
    size = SIZES[shot] * (1 + 0.08 * scale)
    middle = {"close": 0.02, "bust": -0.08, "small": -0.12}[shot] + 0.05 * y
    if len(people) == 1:
        across = {"close": 0.08, "bust": 0.2, "small": 0.5}[shot] * x
        figures = (Figure(people[0], looks[0], across, middle + sits(people[0], shot), size),)
    else:
        size = {"close": 0.41, "bust": 0.36, "small": 0.165}[shot] * (1 + 0.06 * scale)
        apart = 0.47 if shot != "small" else 0.42
        figures = tuple(
            Figure(who, look, side * apart + 0.04 * x, middle + 0.05 * side * tilt + 0.04 + sits(who, shot), size)
            for side, who, look in zip((-1, 1), people, looks)
        )
    hour = "day" if PLACES[place] in INDOORS else "night" if PLACES[place] == "night sky" else TIMES[time]
    return Scene(figures, PLACES[place], hour, LIGHTS[light], tuple(variant))
