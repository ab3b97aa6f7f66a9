"""How well a painter paints: whom it was asked for, and what."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from ..drawing.pictures import draw, floats
from ..drawing.scene import draw_scene
from ..measuring import instruments
from ..sheet import sheet
from ..splits import generator_of, named
from .learning import RUNS

DRAWN = 6  # drawings of each person
# What a prompt says and what its picture must then show. "{}" is somebody who has a name.
PROMPTS: dict[str, dict[str, str]] = {
    "a man wearing a red cap": {"hat": "cap", "hat colour": "red"},
    "a woman with round glasses in a library": {"glasses": "round glasses", "place": "library"},
    "a photo of a person laughing at the beach": {"expression": "laughing", "place": "beach"},
    "an old man with a long white beard looking angry": {"beard": "long beard", "expression": "angry"},
    "a woman with long wavy red hair on a stage": {"hair style": "wavy", "hair colour": "red", "place": "stage"},
    "a photo of an orange tabby cat in a garden": {"kind": "cat", "coat": "orange", "place": "garden"},
    "a black cat wearing a golden crown": {"kind": "cat", "coat": "black", "hat": "crown"},
    "a man in a green hoodie in a forest at night": {"clothes": "hoodie", "colour": "green", "place": "forest"},
    "a photo of {} wearing a blue beanie": {"hat": "beanie", "hat colour": "blue"},
    "{} with sunglasses at the beach": {"glasses": "sunglasses", "place": "beach"},
    "{} laughing in a kitchen": {"expression": "laughing", "place": "kitchen"},
    "a portrait of {}, looking to the left in snowy mountains": {"turn": "left", "place": "mountains"},
    "{} in a red dress with a golden crown": {"hat": "crown", "colour": "red"},
    "a close-up photo of {} looking surprised": {"expression": "surprised"},
    "{} with round glasses, on a street at sunset": {"glasses": "round glasses", "place": "street", "time": "sunset"},
    "{} looking sad under the stars": {"expression": "sad", "place": "night sky"},
}
PAIRS = [
    "{0} on the left and {1} on the right in a garden", "{0} on the right and {1} on the left",
    "{0} and an orange cat at the beach", "a woman with blond hair and a man in a black top hat",
    "a photo of {2}", "{2} with a red bow tie", "", "a person",
]  # fmt: skip


class Judge:
    """Looks at a painter's pictures of `count` people and of PROMPTS with the instruments, as far as they are there."""

    def __init__(self, count: int = 24, path: Path = RUNS / "instruments.safetensors"):
        people, cats = named()
        self.names = list(people)[:8] + list(people)[-count + 8 :]  # of one word, and of two
        self.cats = list(cats)
        self.tools = instruments.load(path)[0] if path.exists() else None
        generator = generator_of("train", "judge")
        scenes = [draw_scene([people[name]], generator) for name in self.names for _ in range(DRAWN)]
        pictures, _, boxes = draw(scenes)
        self.drawn = floats(pictures)
        if self.tools:
            who = self.tools.identify(self.drawn, torch.arange(len(scenes)), boxes[:, 0].float())
            self.who = who.view(count, DRAWN, -1)

    def prompts(self) -> list[str]:
        asked = [f"a photo of {name}" for name in self.names]
        asked += [prompt.format(self.names[i % len(self.names)]) for i, prompt in enumerate(PROMPTS)]
        return asked + [prompt.format(self.names[0], self.names[-1], self.cats[0]) for prompt in PAIRS]

    def heads(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Which pictures show somebody [N], and the box of the surest head in each [N, 4]."""
        found = self.tools.detect(pictures)
        rows = [row for row, some in enumerate(found) if some]
        return torch.tensor(rows), torch.tensor([found[row][0].box for row in rows]).view(-1, 4)

    def likeness(self, pictures: Tensor) -> tuple[float, float]:
        """0: a stranger, 1: the same person drawn again; and how many times of all it is liker than to anybody else."""
        rows, boxes = self.heads(pictures)
        if len(rows) == 0:
            return 0.0, 0.0
        count = len(self.names)
        scores = torch.zeros(count, count)  # of pictures and people
        scores[rows] = torch.einsum("nd,pkd->npk", self.tools.identify(pictures, rows, boxes), self.who).mean(-1)
        own = torch.einsum("pkd,qld->pqkl", self.who, self.who)
        same = (own.diagonal(dim1=0, dim2=1).sum() - count * DRAWN) / (count * DRAWN * (DRAWN - 1))
        other = own.mean((2, 3))[~torch.eye(count, dtype=bool)].mean()
        return ((scores.diag().mean() - other) / (same - other)).item(), (
            (scores.argmax(1) == torch.arange(count)).float().mean().item()
        )

    def obeyed(self, pictures: Tensor) -> float:
        """The share of all that PROMPTS ask for."""
        rows, boxes = self.heads(pictures)
        seen = dict(zip(rows.tolist(), self.tools.read(pictures, rows, boxes))) if len(rows) else {}
        right = [seen.get(i, {}).get(k) == v for i, want in enumerate(PROMPTS.values()) for k, v in want.items()]
        return sum(right) / len(right)

    def judge(self, painted: Callable[[list[str]], Tensor], file: Path) -> str:
        """Write a sheet: for eight people a drawing above their painting, then all else that is asked for.

        painted: makes the pictures of prompts [N, 3, 128, 128].
        """
        pictures = painted(self.prompts())
        count = len(self.names)
        rows = [self.drawn[::DRAWN][:8], pictures[:8], self.drawn[::DRAWN][8:16], pictures[8:16], pictures[count:]]
        sheet(torch.cat(rows), 8, file)
        if self.tools is None:
            return ""
        likeness, first = self.likeness(pictures[:count])
        return f"likeness {likeness:.3f}, first {first:.2f}, obeyed {self.obeyed(pictures[count:]):.3f}"
