"""Of whom a persona is learned: somebody, the one photo that there is of them, and other drawings to compare with."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor

from ..drawing.identity import Cat, Person
from ..drawing.pictures import SIZE, draw, floats
from ..drawing.render import layers
from ..drawing.scene import Scene, draw_scene
from ..splits import cat, generator_of, named, person

REDRAWN = 12  # drawings that a picture is compared with
OPEN = ("tuning", "table", "demo", "release")  # the splits of splits.SPLITS that are for personas


@dataclass(frozen=True)
class Subject:
    """photo: [3, SIZE, SIZE] in 0..1, head and shoulders, eyes open, nothing on the head and no glasses, unless they
    were asked for; all else is left to chance. mask: [SIZE, SIZE], 1 where face and hair are, else 0. redrawn:
    [REDRAWN, 3, SIZE, SIZE], the same being on other occasions, with the boxes of the heads [REDRAWN, 4]. word: what
    prompts call them, a supercategory ("person", "cat") or a name."""

    who: Person | Cat
    word: str
    scene: Scene
    photo: Tensor
    mask: Tensor
    redrawn: Tensor
    boxes: Tensor

    @property
    def kind(self) -> str:
        return kind_of(self.who)


def kind_of(who: Person | Cat) -> str:
    return "cat" if isinstance(who, Cat) else "person"


def photographed(who: Person | Cat, generator: torch.Generator, worn: bool = False) -> Scene:
    """The first of random scenes that is a bust with open eyes, without hat and glasses; worn: with one of them."""
    while True:
        scene = draw_scene([who], generator)
        figure = scene.figures[0]
        if scene.shot != "bust" or figure.look.expression == "laughing":
            continue
        if not worn:
            look = dataclasses.replace(figure.look, hat="none", glasses="none")
            return dataclasses.replace(scene, figures=(dataclasses.replace(figure, look=look),))
        if {figure.look.hat, figure.look.glasses} != {"none"}:
            return scene


def met(who: Person | Cat, word: str, split: str, *parts, worn: bool = False) -> Subject:
    """parts: what the photo and the drawings are the chance of. worn: whether the photo shows a hat or glasses."""
    scene = photographed(who, generator_of(split, "photo", *parts), worn)
    picture, heads, _ = layers([scene], SIZE)
    others = [draw_scene([who], generator_of(split, "redrawn", *parts, again)) for again in range(REDRAWN)]
    pictures, _, boxes = draw(others)
    return Subject(who, word, scene, picture[0], (heads[0, 0] > 0).float(), floats(pictures), boxes[:, 0].float())


def subject(number: int, split: str = "table", kind: str = "person", worn: bool = False) -> Subject:
    """Somebody whom nothing has seen: the split's person or cat of this number."""
    if split not in OPEN:
        raise ValueError(f"Personas are of {', '.join(OPEN)}, not of {split!r}.")
    return met({"person": person, "cat": cat}[kind](split, number), kind, split, kind, number, worn=worn)


def names(words: int = 1, kind: str = "person") -> list[str]:
    """Those whom the painter knows by a name of one word, or of two, in an order that is always the same."""
    return [name for name in named()[kind == "cat"] if len(name.split()) == words]


def named_subject(name: str) -> Subject:
    """Somebody whom the painter knows by name."""
    people, cats = named()
    return met((people | cats)[name], name, "train", "named", name)
