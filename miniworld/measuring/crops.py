"""What the instruments look at, and what there is to be seen in it.

Shapes: pictures [B, 3, 128, 128] in 0..1; boxes [N, 4], left, top, right and bottom in pixels, of heads in the
pictures `rows` [N]; crops [N, 3, LOOK, LOOK]. A label is -1 where something cannot be seen.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..drawing.identity import BEARDS, CAT_CHOICES, COVERING, EYE_COLOURS, HAIR_COLOURS, HAIR_STYLES, Cat, Person
from ..drawing.look import CAT_CLOTHES, CLOTHES, COLOURS, EXPRESSIONS, GLASSES, HATS, TURNS
from ..drawing.scene import LIGHTS, OUTDOORS, PLACES, TIMES, Figure, Scene
from ..words.facts import DETAIL, EXPRESSIVE, eyes_seen

LOOK = 64
SEEN = ("not there", "there")
# What each of the three eyes reads: of a head, of a whole figure, and of a picture.
FACE = {
    "kind": ("person", "cat"), "turn": TURNS, "expression": EXPRESSIONS, "glasses": GLASSES, "hair style": HAIR_STYLES,
    "hair colour": tuple(HAIR_COLOURS), "beard": BEARDS, "eye colour": tuple(EYE_COLOURS), "freckles": SEEN,
    "scar": SEEN, "streak": SEEN, "red lips": SEEN, "skin": ("light", "dark"), "coat": CAT_CHOICES["coat"],
    "pattern": CAT_CHOICES["pattern"],
}  # fmt: skip
FIGURE = {
    "hat": HATS, "hat colour": tuple(COLOURS), "clothes": CLOTHES + CAT_CLOTHES, "colour": tuple(COLOURS),
    "light": LIGHTS,
}  # fmt: skip
SCENE = {"place": PLACES, "time": TIMES}


def cut(pictures: Tensor, rows: Tensor, left: Tensor, top: Tensor, side: Tensor) -> Tensor:
    """Squares of the pictures; beyond a border it goes on. Drawn twice as fine, so that small marks stay."""
    line = (torch.arange(2 * LOOK, device=pictures.device) + 0.5) / (2 * LOOK)
    x, y = (2 * (at[:, None] + side[:, None] * line) / pictures.shape[-1] - 1 for at in (left, top))
    grid = torch.stack([x[:, None].expand(-1, 2 * LOOK, -1), y[:, :, None].expand(-1, -1, 2 * LOOK)], -1)
    found = F.grid_sample(pictures[rows], grid, "bilinear", "border", align_corners=False)
    return F.avg_pool2d(found, 2)


def face_crops(pictures: Tensor, rows: Tensor, boxes: Tensor) -> Tensor:
    """Heads with a little around them."""
    left, top, right, bottom = boxes.T
    side = 1.3 * torch.maximum(right - left, bottom - top)
    return cut(pictures, rows, (left + right - side) / 2, (top + bottom - side) / 2, side)


def figure_crops(pictures: Tensor, rows: Tensor, boxes: Tensor) -> Tensor:
    """Hat, head and clothes: the head is always in the middle of the width, so that it is clear who is meant."""
    left, top, right, bottom = boxes.T
    side = (2.8 * torch.maximum(right - left, bottom - top)).clamp(max=128)
    over = torch.minimum((top + bottom) / 2 - 0.42 * side, 128 - side).clamp(min=0)
    return cut(pictures, rows, (left + right - side) / 2, over, side)


def scene_crops(pictures: Tensor) -> Tensor:
    return F.avg_pool2d(pictures, pictures.shape[-1] // LOOK)


def face_labels(figure: Figure) -> dict[str, int]:
    """Numbers of the words in FACE."""
    who, look = figure.who, figure.look
    near, close = figure.size >= EXPRESSIVE, figure.size >= DETAIL
    found = {"kind": isinstance(who, Cat), "turn": TURNS.index(look.turn), "glasses": GLASSES.index(look.glasses)}
    if near:
        found["expression"] = EXPRESSIONS.index(look.expression)
    if isinstance(who, Cat):
        return found | ({"coat": who.coat} | pattern_label(who) if near else {})
    style, beard = who.word("hair_style"), who.word("beard")
    open_ = look.hat in ("none", "flowers", "crown", "party hat")
    if look.hat in ("none", "flowers"):
        found["hair style"] = who.hair_style
    if style != "bald" and (open_ or style in (*COVERING, "braids", "curly")):
        found["hair colour"] = who.hair_colour
    if near and beard != "stubble":  # which is often too faint to be told from none
        found["beard"] = who.beard
    if eyes_seen(figure):
        found["eye colour"] = who.eye_colour
    hidden = beard in ("beard", "long beard")
    if close and not hidden:
        found["freckles"] = who.freckles > 0
        if look.turn == "front":
            found["scar"] = who.scar > 0
        found |= {"red lips": who.lip_colour > 0.55} if not 0.3 < who.lip_colour < 0.55 else {}
    if near and look.hat == "none" and style not in ("bald", "buzz", "thinning", "mohawk", "afro"):
        found["streak"] = who.streak > 0
    return found | ({"skin": who.skin > 0.5} if not 0.35 < who.skin < 0.65 else {})


def pattern_label(cat: Cat) -> dict[str, int]:
    """Unless it is of the coat's own colour."""
    coat, pattern = cat.word("coat"), cat.word("pattern")
    hidden = {"tuxedo": coat in ("white", "cream"), "patches": cat.second == cat.coat, "points": coat == "black"}
    return {} if hidden.get(pattern) else {"pattern": cat.pattern}


def figure_labels(figure: Figure, scene: Scene) -> dict[str, int]:
    """Numbers of the words in FIGURE."""
    look = figure.look
    found = {"hat": HATS.index(look.hat), "clothes": (CLOTHES + CAT_CLOTHES).index(look.clothes)}
    if look.hat in ("cap", "beanie", "beret", "party hat", "top hat"):
        found["hat colour"] = list(COLOURS).index(look.hat_colour)
    if look.clothes != "nothing":
        found["colour"] = list(COLOURS).index(look.colour)
    return found | ({"light": LIGHTS.index(scene.light)} if scene.shot != "small" else {})


def scene_labels(scene: Scene) -> dict[str, int]:
    """Numbers of the words in SCENE."""
    outside = scene.place in OUTDOORS and scene.place != "night sky"
    return {"place": PLACES.index(scene.place)} | ({"time": TIMES.index(scene.time)} if outside else {})


def table(found: list[dict[str, int]], choices: dict) -> Tensor:
    """[N, len(choices)] long, -1 for what is not said."""
    return torch.tensor([[int(row.get(name, -1)) for name in choices] for row in found])


def traits(who: Person | Cat) -> Tensor:
    """A person's numbers in 0..1 [60]; a cat has none (-1)."""
    return who.to_vector() if isinstance(who, Person) else torch.full((60,), -1.0)
