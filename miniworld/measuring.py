"""What is measured of painted pictures: is it that person, and does it show what the prompt asked for.

Shapes: B pictures [B, 3, 32, 32] in 0..1.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from . import captions, instruments
from .world import CHOICES, Scene, people, render, scenes

EYE = Path(__file__).with_name("instruments.safetensors")
# Seeds of people whom nothing has learned from: beyond world.seed_of, and beyond the steps of a training.
HELD_OUT, TUNING = 3_000_000_000, 3_500_000_000
REDRAWN = 16  # drawings of a person that a picture is compared with

# What a prompt says and what its picture must then show: every kind of attribute, and two at once.
PROMPTS: dict[str, dict[str, str]] = {
    "a photo of a {}": {},
    "a {} wearing a red hat": {"hat": "red"},
    "a photo of a {} wearing a crown": {"hat": "crown"},
    "a {} with dark glasses": {"glasses": "dark"},
    "a photo of a {} with round glasses": {"glasses": "round"},
    "a photo of a {} on a blue background": {"background": "blue"},
    "a {} smiling on a yellow background": {"background": "yellow", "expression": "smiling"},
    "a photo of a {} looking surprised, wearing a blue hat": {"hat": "blue", "expression": "surprised"},
}


@dataclass(frozen=True)
class Sitter:
    """Someone in the one photo there is of them: with nothing on, neutral, on some background, somewhere.

    photo: [3, 32, 32] in 0..1. mask: [32, 32]. redrawn: [REDRAWN, 3, 32, 32], the same person on other occasions.
    """

    scene: Scene
    photo: Tensor
    mask: Tensor
    redrawn: Tensor


def sitter(number: int, seed: int = HELD_OUT) -> Sitter:
    """One of the people of a seed; with captions.NAMED, one whom the painter knows by captions.NAMES[number]."""
    identity = people(number + 1, seed)[number:]
    generator = torch.Generator().manual_seed(seed + 1 + number)
    scene = scenes(identity, generator).having(hat="none", glasses="none", expression="neutral")
    # Pictures drift to gray where nothing is asked for, so that there a leak would not show.
    if scene.background == list(CHOICES["background"]).index("gray"):
        scene = scene.having(background="green")
    picture, mask = render(scene)
    others = render(scenes(identity.expand(REDRAWN, -1), generator))[0]
    return Sitter(scene, picture[0], mask[0, 0], others)


@dataclass(frozen=True)
class Scores:
    """Of pictures of one person, [B] each. likeness: 0 = a stranger, 1 = the same person drawn again.

    obeyed: whether the picture shows all that its prompt asked for. background: whether it has the photo's
    background, where the prompt leaves that open; else NaN. place: of the face, x and y [B, 2], see world.Scene.
    """

    likeness: Tensor
    obeyed: Tensor
    background: Tensor
    place: Tensor


class Examiner:
    """The instruments, loaded."""

    def __init__(self, path: Path = EYE):
        self.eye, self.figures = instruments.load(path)

    def score(self, pictures: Tensor, asked: list[dict[str, str]], person: Sitter) -> Scores:
        """asked: what each picture's prompt asked for, as the values of PROMPTS."""
        seen = instruments.read(self.eye, pictures)
        backdrop = list(CHOICES["background"])[int(person.scene.background)]
        return Scores(
            self.likeness(pictures, person),
            torch.tensor([all(one[kind] == value for kind, value in want.items()) for one, want in zip(seen, asked)]),
            torch.tensor(
                [
                    float("nan") if "background" in want else float(one["background"] == backdrop)
                    for one, want in zip(seen, asked)
                ]
            ),
            instruments.place(self.eye, pictures),
        )

    def likeness(self, pictures: Tensor, person: Sitter) -> Tensor:
        """The mean cosine with the person's other drawings, on a scale where 0 is a stranger and 1 they themselves."""
        one, others = (instruments.identity(self.eye, x) for x in (pictures, person.redrawn))
        return instruments.likeness(one[:, None], others[None], self.figures).mean(1)


def named_sitter(number: int) -> tuple[str, Sitter]:
    """Someone whom the painter knows, and the name that captions call them by."""
    return captions.NAMES[number], sitter(number, captions.NAMED)
