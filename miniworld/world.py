"""A made-up world of faces: who (identity), how (attributes) and where (pose) to a picture and its exact mask.

Identity is continuous and mostly beyond words, so only an example can say who is meant.
Shapes: B pictures of SIZE x SIZE pixels, drawn finer. Colours 0..1.
"""

import random
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from .canvas import Canvas, along, between, rgb

TRAITS = (
    "width", "jaw", "skin", "hair_colour", "hair_length", "hair_top", "fringe", "parting", "eye_distance",
    "eye_size", "eye_colour", "brows", "nose", "mouth", "beard",
)  # fmt: skip

BACKGROUNDS = {
    "gray": "#8a8d91", "white": "#f2f2ee", "red": "#c8453f", "blue": "#4a78c8", "green": "#58a05c",
    "yellow": "#ecc94e", "purple": "#8657a8",
}  # fmt: skip
HATS = {
    "none": "#000000", "red": "#d8322c", "blue": "#2650b8", "green": "#2f8f4a", "black": "#26262c", "crown": "#f6c526",
}  # fmt: skip
GLASSES = ("none", "round", "dark")
EXPRESSIONS = ("neutral", "smiling", "sad", "surprised")
SHIRTS = ("#3d5a80", "#9c4a52", "#4f6f52", "#6b5b7b", "#c9b79c", "#33373d")

SKINS = ("#fbdcc8", "#f0c39f", "#dba277", "#b57a50", "#85522f", "#563420")
HAIRS = {
    "black": "#1c1a20", "brown": "#583724", "red": "#a2411e", "blond": "#e6c05e", "white": "#e4e2de",
    "blue": "#4f9ec4", "pink": "#d9689f",
}  # fmt: skip
EYES = {"brown": "#5a3416", "green": "#3f9a4d", "blue": "#3a86d8", "violet": "#8a4fd0"}


@dataclass(frozen=True)
class Scene:
    """What is drawn. identity: [B, len(TRAITS)] in 0..1. background, hat, glasses, expression, shirt: [B], the index
    in the lists above. pose: [B, 3], x and y of the face's middle in -1..1 and half its height."""

    identity: Tensor
    background: Tensor
    hat: Tensor
    glasses: Tensor
    expression: Tensor
    shirt: Tensor
    pose: Tensor

    def __len__(self) -> int:
        return len(self.identity)

    def __getitem__(self, rows) -> "Scene":
        return Scene(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})

    def having(self, **attributes: str) -> "Scene":
        """With these attributes, by name, in every picture."""
        return replace(
            self, **{key: torch.full((len(self),), list(CHOICES[key]).index(name)) for key, name in attributes.items()}
        )


CHOICES = {"background": BACKGROUNDS, "hat": HATS, "glasses": GLASSES, "expression": EXPRESSIONS}


def seed_of(*what: object) -> int:
    """A seed for this and nothing else, below 2**31. Mixed, because torch keeps only 32 bits of a seed."""
    return random.Random(" ".join(map(str, what))).getrandbits(31)


def people(count: int, seed: int) -> Tensor:
    """Identities [count, len(TRAITS)]; those of another seed are other people."""
    return torch.rand(count, len(TRAITS), generator=torch.Generator().manual_seed(seed))


def scenes(identity: Tensor, generator: torch.Generator) -> Scene:
    """Each person of [B, len(TRAITS)] in random attributes and a random pose."""

    def choose(count: int, plain: float = 0.0) -> Tensor:
        """Uniform, but the first choice, "none", with probability `plain` extra."""
        choice = torch.randint(count, (len(identity),), generator=generator)
        return choice * (torch.rand(len(identity), generator=generator) >= plain)

    pose = torch.rand(len(identity), 3, generator=generator) * torch.tensor([0.36, 0.24, 0.12])
    return Scene(
        identity, choose(len(BACKGROUNDS)), choose(len(HATS), 0.4), choose(len(GLASSES), 0.35),
        choose(len(EXPRESSIONS)), choose(len(SHIRTS)), pose + torch.tensor([-0.18, 0.02, 0.62]),
    )  # fmt: skip


def portrait(identity: Tensor) -> Scene:
    """Each person as on a passport: gray background, nothing worn, neutral, in the middle."""
    zeros = torch.zeros(len(identity), dtype=torch.long)
    return Scene(identity, zeros, zeros, zeros, zeros, zeros, torch.tensor([0.0, 0.14, 0.68]).expand(len(identity), 3))


def render(scene: Scene) -> tuple[Tensor, Tensor]:
    """Pictures [B, 3, SIZE, SIZE] and masks of the head [B, 1, SIZE, SIZE], without what it wears, in 0..1."""
    trait = dict(zip(TRAITS, scene.identity.unbind(1)))
    canvas = Canvas(scene.pose)
    skin, hair = along(SKINS, trait["skin"]), along(HAIRS.values(), trait["hair_colour"])
    width = between(0.62, 0.92, trait["width"])
    top = between(0.04, 0.36, trait["hair_top"])
    draw_background(canvas, scene)
    draw_back_hair(canvas, trait, width, top, hair)
    draw_shirt(canvas, scene, skin, width)
    draw_face(canvas, trait, width, skin, hair)
    draw_mouth(canvas, trait, scene.expression, skin)
    eyes = draw_eyes(canvas, trait, scene.expression, hair)
    draw_front_hair(canvas, trait, width, top, hair)
    draw_glasses(canvas, scene.glasses, *eyes)
    draw_hat(canvas, scene.hat, width, top)
    return canvas.finished()


def draw_background(canvas: Canvas, scene: Scene) -> None:
    canvas.fill(torch.ones_like(canvas.u), rgb(BACKGROUNDS.values())[scene.background], 0)
    canvas.fill(0.16 * canvas.edge(canvas.v - 0.9), torch.zeros(3), 0)


def draw_back_hair(canvas: Canvas, trait: dict, width: Tensor, top: Tensor, hair: Tensor) -> None:
    cap = canvas.ellipse(0, -0.12, width + 0.06 + 0.5 * top, 0.9 + top)
    end = between(-0.25, 1.5, trait["hair_length"])
    # Two curtains that end where the hair does, and widen a little on the way down.
    side = width + 0.1 + 0.3 * top + 0.06 * canvas.v
    curtain = canvas.edge(torch.minimum(side - canvas.u.abs(), torch.minimum(end - canvas.v, canvas.v + 0.3)))
    cap = cap * canvas.edge(torch.maximum(end, torch.tensor(-0.1)) - canvas.v)
    canvas.fill(torch.maximum(cap, curtain), hair * 0.82)


def draw_shirt(canvas: Canvas, scene: Scene, skin: Tensor, width: Tensor) -> None:
    canvas.fill(canvas.edge(torch.minimum(0.5 * width - canvas.u.abs(), canvas.v - 0.5)), skin * 0.84)
    canvas.fill(canvas.ellipse(0, 2.05, 1.25, 0.92), rgb(SHIRTS)[scene.shirt], 0)


def draw_face(canvas: Canvas, trait: dict, width: Tensor, skin: Tensor, hair: Tensor) -> None:
    canvas.fill(canvas.pair(width + 0.01, 0.08, 0.13, 0.2), skin * 0.88)
    down = canvas.v.clamp(0, 1)
    narrow = width * (1 - between(0.0, 0.5, trait["jaw"]) * down)
    power = between(3.4, 2.0, trait["jaw"])  # from a box to an egg
    inside = (1 - ((canvas.u / narrow).abs() ** power + canvas.v.abs() ** power) ** (1 / power)) * narrow
    face = canvas.edge(inside)
    canvas.fill(face, skin)
    canvas.fill(0.3 * face * canvas.pair(0.6 * width, 0.34, 0.18, 0.13), torch.tensor([0.9, 0.35, 0.35]))
    # A beard grows up from the chin; below one half there is none.
    beard = (2 * trait["beard"] - 1).clamp(0, 1)
    line = between(1.05, 0.3, beard) - 0.45 * (canvas.u.abs() / width) ** 2
    grown = face * canvas.edge(canvas.v - line) * (beard > 0)[:, None, None]
    canvas.fill(grown, hair * 0.9)
    length = between(0.1, 0.28, trait["nose"])
    nose = canvas.ellipse(0, 0.1 + 0.5 * length, between(0.06, 0.15, trait["nose"]), length)
    canvas.fill(nose * canvas.edge(canvas.v), skin * torch.tensor([0.78, 0.7, 0.68]))


def draw_mouth(canvas: Canvas, trait: dict, expression: Tensor, skin: Tensor) -> None:
    half, y = between(0.17, 0.36, trait["mouth"]), 0.6
    lips = torch.lerp(skin * 0.6, torch.tensor([0.72, 0.16, 0.2]), 0.6)
    bend = torch.tensor([0.0, 0.26, -0.26, 0.0])[expression][:, None, None]
    middle = y + bend * (0.5 - (canvas.u / half).abs() ** 1.5)
    line = torch.minimum(0.075 - (canvas.v - middle).abs(), half - canvas.u.abs())
    surprised = (expression == EXPRESSIONS.index("surprised"))[:, None, None]
    canvas.fill(canvas.edge(line) * ~surprised, lips)
    canvas.fill(canvas.ellipse(0, y + 0.04, 0.6 * half + 0.06, 0.2) * surprised, lips * 0.45)


def draw_eyes(canvas: Canvas, trait: dict, expression: Tensor, hair: Tensor) -> tuple[Tensor, float, Tensor]:
    """Returns distance from the middle, height and radius, for glasses."""
    surprised = (expression == EXPRESSIONS.index("surprised")).float()
    x, y = between(0.25, 0.44, trait["eye_distance"]), -0.1
    rx = between(0.12, 0.22, trait["eye_size"])
    ry = (0.85 + 0.35 * surprised[:, None, None]) * rx
    white, iris = canvas.pair(x, y, rx, ry), 0.72 * rx
    canvas.fill(white, torch.tensor([0.98, 0.98, 0.98]))
    canvas.fill(white * canvas.pair(x, y, iris, iris * 1.1), along(EYES.values(), trait["eye_colour"]))
    canvas.fill(white * canvas.pair(x, y, 0.45 * iris, 0.45 * iris), torch.full((3,), 0.05))
    thick = between(0.03, 0.1, trait["brows"])
    tilt = torch.tensor([0.0, 0.0, -0.5, 0.0])[expression][:, None, None]  # sad: the inner ends go up
    raised = y - ry - 0.1 - thick - 0.1 * surprised[:, None, None] - tilt * (canvas.u.abs() - x)
    brow = torch.minimum(thick - (canvas.v - raised).abs(), rx + 0.06 - (canvas.u.abs() - x).abs())
    canvas.fill(canvas.edge(brow), hair * 0.6)
    return x, y, rx


def draw_front_hair(canvas: Canvas, trait: dict, width: Tensor, top: Tensor, hair: Tensor) -> None:
    cap = canvas.ellipse(0, -0.12, width + 0.06 + 0.5 * top, 0.9 + top)
    line = between(-1.05, -0.38, trait["fringe"]) + between(-0.55, 0.55, trait["parting"]) * canvas.u
    # Over the temples it falls a little lower than in the middle.
    line = line + 0.5 * (canvas.u.abs() - 0.75 * width).clamp(min=0) / 0.25
    front = cap * canvas.edge(torch.minimum(line, torch.tensor(0.1)) - canvas.v)
    canvas.fill(front, hair)
    shine = canvas.ellipse(-0.3 * width, -0.72 - 0.6 * top, 0.3, 0.09)
    canvas.fill(0.35 * front * shine, torch.ones(3))


def draw_glasses(canvas: Canvas, glasses: Tensor, x: Tensor, y: float, rx: Tensor) -> None:
    worn, dark = ((glasses == GLASSES.index(name))[:, None, None] for name in ("round", "dark"))
    r, rim = 0.13 + 0.8 * rx, torch.tensor([0.12, 0.1, 0.14])
    ring = canvas.pair(x, y, r + 0.05, r + 0.05) * (1 - canvas.pair(x, y, r - 0.04, r - 0.04))
    canvas.fill(ring * worn, rim, 0)
    canvas.fill(canvas.pair(x, y, r + 0.04, r) * dark, rim, 0)
    bridge = torch.minimum(
        0.04 - (canvas.v - y + 0.03).abs(), torch.maximum(x - r, torch.tensor(0.05)) - canvas.u.abs()
    )
    canvas.fill(canvas.edge(bridge) * (worn | dark), rim, 0)
    glint = canvas.pair(x - 0.08, y - 0.08, 0.07, 0.05)
    canvas.fill(0.5 * glint * dark, torch.ones(3), 0)


def draw_hat(canvas: Canvas, hat: Tensor, width: Tensor, top: Tensor) -> None:
    colour, crown = rgb(HATS.values())[hat], (hat == list(HATS).index("crown"))[:, None, None]
    felt = (hat > 0)[:, None, None] & ~crown
    half = width + 0.08 + 0.4 * top
    dome = canvas.oval(canvas.u, canvas.v + 0.6, half, 0.62 + 0.5 * top) * canvas.edge(-0.55 - canvas.v)
    canvas.fill(dome * felt, colour, 0)
    brim = canvas.edge(torch.minimum(half + 0.18 - canvas.u.abs(), 0.09 - (canvas.v + 0.56).abs()))
    canvas.fill(brim * felt, colour * 0.75, 0)
    spikes = 0.34 * (1 - (3 * canvas.u / half + 1).remainder(2).sub(1).abs())
    gold = torch.minimum(half - canvas.u.abs(), torch.minimum(-0.58 - canvas.v, canvas.v + 0.88 + spikes + 0.4 * top))
    canvas.fill(canvas.edge(gold) * crown, colour, 0)
    canvas.fill(canvas.oval(canvas.u, canvas.v + 0.74, 0.1, 0.1) * crown, torch.tensor([0.85, 0.15, 0.25]), 0)
