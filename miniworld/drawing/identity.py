"""Who somebody is. Every number is 0..1 and every choice an index, so that a vector says it all."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

HAIR_STYLES = (
    "bald", "buzz", "crop", "quiff", "spiky", "curly", "afro", "pixie", "bob", "long", "wavy", "ringlets", "ponytail",
    "bun", "braids", "mohawk", "thinning",
)  # fmt: skip
COVERING = ("bob", "long", "wavy", "ringlets")  # under these no ear is seen
HAIR_COLOURS = {
    "black": "#2b2530", "brown": "#5f3d2b", "chestnut": "#8a4f2e", "red": "#b5451f", "orange": "#dc7a2c",
    "blond": "#e8bd62", "gray": "#9c9ba3", "white": "#eae6df", "pink": "#ea8fb2", "blue": "#4a78be",
}  # fmt: skip
EYE_COLOURS = {
    "black": "#2c2020", "brown": "#6f4220", "amber": "#b5782a", "green": "#4f9154", "blue": "#3f86cc",
    "gray": "#8496a4",
}  # fmt: skip
BEARDS = ("none", "stubble", "moustache", "goatee", "beard", "long beard")
SCARS = ("none", "left cheek", "right cheek", "brow", "chin")
EARRINGS = ("none", "studs", "hoops")
STREAKS = ("none", "left", "right")
CHOICES = {
    "woman": ("man", "woman"), "hair_style": HAIR_STYLES, "hair_colour": tuple(HAIR_COLOURS),
    "eye_colour": tuple(EYE_COLOURS), "beard": BEARDS, "scar": SCARS, "earrings": EARRINGS, "streak": STREAKS,
}  # fmt: skip

COATS = {
    "gray": "#8b8f99", "orange": "#e0934a", "black": "#3a3640", "white": "#f3eee6", "cream": "#ecd2a6",
    "brown": "#8f6a4c",
}  # fmt: skip
PATTERNS = ("plain", "tabby", "tuxedo", "patches", "points", "spots")
CAT_EYES = {"green": "#8fbf4f", "yellow": "#e8bf3a", "blue": "#5fa8dc", "copper": "#c9752f"}
NOSES = ("pink", "brown", "black")
SIDES = ("none", "left", "right")
CAT_CHOICES = {
    "coat": tuple(COATS), "pattern": PATTERNS, "second": tuple(COATS), "eye_patch": SIDES, "notch": SIDES,
    "eye_colour": tuple(CAT_EYES), "odd_eye": SIDES, "nose_colour": NOSES,
}  # fmt: skip


class Chance:
    """Draws of one generator."""

    def __init__(self, generator: torch.Generator):
        self.generator = generator

    def even(self) -> float:
        return torch.rand((), generator=self.generator).item()

    def bell(self, middle: float = 0.5, spread: float = 0.22) -> float:
        """A normal number, drawn again until it lies in 0..1."""
        while True:
            found = middle + spread * torch.randn((), generator=self.generator).item()
            if 0 <= found <= 1:
                return found

    def some(self, share: float) -> float:
        """0 for most; a share of all draws evenly from 0.4..1."""
        return (0.4 + 0.6 * self.even()) * (self.even() < share)

    def pick(self, weights) -> int:
        return int(torch.multinomial(torch.tensor(list(weights), dtype=torch.float32), 1, generator=self.generator))


@dataclass(frozen=True)
class Being:
    """Who somebody is: numbers 0..1, and choices as an index."""

    @classmethod
    def choices(cls) -> dict[str, tuple[str, ...]]:
        return CAT_CHOICES if cls.__name__ == "Cat" else CHOICES

    def to_vector(self) -> Tensor:
        """[len(fields)] in 0..1, in the order of the fields."""
        most = {name: len(values) - 1 for name, values in self.choices().items()}
        return torch.tensor([getattr(self, f.name) / most.get(f.name, 1) for f in fields(self)])

    def word(self, field: str) -> str:
        """A choice in words."""
        return self.choices()[field][getattr(self, field)]


@dataclass(frozen=True)
class Person(Being):
    woman: int
    age: float  # wrinkles, too
    skin: float  # light to dark
    undertone: float  # rosy to golden
    face_width: float
    face_height: float
    jaw: float
    chin: float
    cheekbones: float
    cheeks: float  # how rosy
    hair_style: int
    hair_colour: int
    hair_shade: float
    hair_length: float
    hair_volume: float
    hair_wave: float
    hairline: float
    fringe: float
    parting: float
    strands: float  # how the hair happens to fall
    streak: int
    brow_thickness: float
    brow_arch: float
    brow_height: float
    brow_difference: float  # one sits higher
    brow_shade: float
    eye_size: float
    eye_shape: float  # narrow to round
    eye_spacing: float
    eye_tilt: float
    eye_colour: int
    iris: float  # size
    lids: float
    lashes: float
    nose_width: float
    nose_length: float
    nose_bridge: float
    nose_tip: float
    mouth_width: float
    mouth_height: float
    upper_lip: float
    lower_lip: float
    lip_colour: float  # natural to painted
    tooth_gap: float
    ear_size: float
    ear_angle: float
    beard: int
    beard_size: float
    freckles: float
    freckle_pattern: float
    mole: float
    mole_x: float
    mole_y: float
    scar: int
    dimples: float
    cleft: float
    earrings: int
    neck_width: float
    neck_length: float
    shoulders: float

    @classmethod
    def draw(cls, generator: torch.Generator, woman: int | None = None) -> Person:
        """A person of the world.

        Half are women, which shifts the middles of most measures by about half a standard deviation and chooses the
        weights of hair styles and earrings; 55 % of men have a beard. Ages are an even number to the power 1.6; hair is
        mostly gray or white above 0.65. Dark skin has dark hair and eyes more often, light skin more freckles. Measures
        of face, eyes, nose and mouth lie around the middle; marks are rare (10 to 30 %); all else is even.
        """
        c = Chance(generator)
        even = c.even()
        woman = int(even < 0.5) if woman is None else woman
        age = c.even() ** 1.6
        skin = c.even()
        #        bald buzz crop quif spik curl afro pixi bob  long wavy ring pony bun  brai moha thin
        styles = (1, 0, 0, 0, 1, 5, 5, 7, 12, 12, 13, 10, 9, 11, 9, 0.5, 0) if woman else (
            5, 8, 16, 13, 10, 13, 5, 0, 0, 4, 5, 2, 2, 4, 0, 3, 8 * age + 1)  # fmt: skip
        dark = 1 + 3 * skin
        colours = [4 * dark, 5 * dark, 5, 5, 4, 6 / dark, 2, 1, 1.5, 1.5]
        if age > 0.65:
            colours[6:8] = [30, 25]
        beards = (1, 0, 0, 0, 0, 0) if woman else (45, 14, 9, 9, 16, 7)
        eyes = (2 * dark, 5 * dark, 4, 5, 7 / dark, 4 / dark)
        return cls(
            woman=woman, age=age, skin=skin, undertone=c.even(),
            face_width=c.bell(0.45 if woman else 0.58), face_height=c.bell(), jaw=c.bell(0.35 if woman else 0.65, 0.2),
            chin=c.bell(), cheekbones=c.bell(), cheeks=c.bell(0.6 if woman else 0.4),
            hair_style=c.pick(styles), hair_colour=c.pick(colours), hair_shade=c.even(), hair_length=c.even(),
            hair_volume=c.even(), hair_wave=c.even(), hairline=c.bell(0.35 + 0.25 * age * (1 - woman)),
            fringe=c.even(), parting=c.even(), strands=c.even(), streak=c.pick((88, 6, 6)),
            brow_thickness=c.bell(0.35 if woman else 0.65), brow_arch=c.bell(0.6 if woman else 0.4),
            brow_height=c.bell(), brow_difference=c.bell(0.5, 0.2), brow_shade=c.even(),
            eye_size=c.bell(0.58 if woman else 0.45), eye_shape=c.even(), eye_spacing=c.bell(), eye_tilt=c.bell(),
            eye_colour=c.pick(eyes), iris=c.bell(), lids=c.even(), lashes=c.bell(0.75 if woman else 0.2, 0.18),
            nose_width=c.bell(0.42 if woman else 0.58), nose_length=c.bell(), nose_bridge=c.even(), nose_tip=c.even(),
            mouth_width=c.bell(), mouth_height=c.bell(), upper_lip=c.bell(0.55 if woman else 0.4),
            lower_lip=c.bell(0.6 if woman else 0.45),
            lip_colour=c.even() ** 2 if woman else 0.15 * c.even(), tooth_gap=c.some(0.3),
            ear_size=c.bell(), ear_angle=c.bell(),
            beard=c.pick(beards), beard_size=c.even(), freckles=c.some(0.3 * (1.3 - skin)), freckle_pattern=c.even(),
            mole=c.some(0.3), mole_x=c.even(), mole_y=c.even(), scar=c.pick((84, 4, 4, 4, 4)),
            dimples=c.some(0.3), cleft=c.some(0.2), earrings=c.pick((45, 30, 25) if woman else (92, 6, 2)),
            neck_width=c.bell(0.3 if woman else 0.65), neck_length=c.bell(), shoulders=c.bell(0.35 if woman else 0.65),
        )  # fmt: skip


@dataclass(frozen=True)
class Cat(Being):
    coat: int
    shade: float
    pattern: int
    second: int  # the other colour of its patches
    contrast: float
    stripes: float  # how many
    patch_x: float
    patch_y: float
    patch_size: float
    eye_patch: int
    muzzle: float  # how white
    blaze: float  # the white between the eyes
    bib: float  # white on the chest
    socks: float
    spot: float  # beside the nose
    spot_side: float
    face_width: float
    face_height: float
    fluff: float  # of the cheeks
    jaw: float
    ear_size: float
    ear_set: float  # near to wide
    ear_tip: float  # round to pointed
    fold: float
    tufts: float
    notch: int
    eye_colour: int
    odd_eye: int
    eye_size: float
    eye_shape: float
    eye_spacing: float
    eye_tilt: float
    pupil: float
    rims: float  # dark around the eyes
    pads: float  # size of the muzzle
    nose_size: float
    nose_colour: int
    whiskers: float
    brow_whiskers: float
    tail: float
    body: float

    @classmethod
    def draw(cls, generator: torch.Generator) -> Cat:
        """A cat of the world: coats and patterns by the weights below, most numbers bell-shaped around the middle."""
        c = Chance(generator)
        return cls(
            coat=c.pick((22, 24, 14, 12, 14, 14)), shade=c.even(), pattern=c.pick((20, 30, 20, 12, 10, 8)),
            second=c.pick((1,) * len(COATS)), contrast=c.even(), stripes=c.even(), patch_x=c.even(), patch_y=c.even(),
            patch_size=c.even(), eye_patch=c.pick((70, 15, 15)), muzzle=c.even() * (c.even() < 0.6), blaze=c.some(0.35),
            bib=c.some(0.5), socks=c.some(0.5), spot=c.some(0.25), spot_side=c.even(), face_width=c.bell(),
            face_height=c.bell(), fluff=c.even(), jaw=c.bell(), ear_size=c.bell(), ear_set=c.bell(), ear_tip=c.even(),
            fold=c.some(0.12), tufts=c.some(0.4), notch=c.pick((84, 8, 8)), eye_colour=c.pick((1,) * len(CAT_EYES)),
            odd_eye=c.pick((92, 4, 4)), eye_size=c.bell(), eye_shape=c.even(), eye_spacing=c.bell(), eye_tilt=c.bell(),
            pupil=c.even(), rims=c.even(), pads=c.bell(), nose_size=c.bell(), nose_colour=c.pick((55, 25, 20)),
            whiskers=c.bell(), brow_whiskers=c.even(), tail=c.even(), body=c.bell(),
        )  # fmt: skip
