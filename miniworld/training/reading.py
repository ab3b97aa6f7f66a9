"""What a caption tells, and how well it is read from the text encoder's contexts alone.

Two slots: whoever is alone or on the left, and whoever is on the right. A label is -1 and a number NaN where there is
nothing to be said. Shapes: B captions, L tokens, N numbers, C choices.
"""

from __future__ import annotations

from dataclasses import fields

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..drawing.identity import CAT_CHOICES, CHOICES, Cat, Person
from ..drawing.look import CAT_CLOTHES, CLOTHES, COLOURS, EXPRESSIONS, GLASSES, HATS, TURNS
from ..drawing.scene import LIGHTS, PLACES, TIMES, Figure, Scene
from ..words.facts import HATS as HAT_WORDS
from .attention import attention

NOBODY, PERSON, CAT = range(3)
LOOK = {
    "kind": ("nobody", "person", "cat"), "expression": EXPRESSIONS, "turn": TURNS, "hat": HATS,
    "hat_colour": tuple(COLOURS), "glasses": GLASSES, "clothes": CLOTHES + CAT_CLOTHES, "colour": tuple(COLOURS),
}  # fmt: skip
WHO = {f"person {k}": v for k, v in CHOICES.items()} | {f"cat {k}": v for k, v in CAT_CHOICES.items()}
SETTING = {"place": PLACES, "time": TIMES, "light": LIGHTS, "shot": ("close", "bust", "small")}
NUMBERS = [f"person {f.name}" for f in fields(Person) if f.name not in CHOICES]
NUMBERS += [f"cat {f.name}" for f in fields(Cat) if f.name not in CAT_CHOICES]


def figure_labels(figure: Figure | None) -> tuple[list[int], list[int], list[float]]:
    """LOOK, WHO and NUMBERS of one slot."""
    if figure is None:
        return [NOBODY] + [-1] * (len(LOOK) - 1), [-1] * len(WHO), [float("nan")] * len(NUMBERS)
    who, look = figure.who, figure.look
    kind = "cat" if isinstance(who, Cat) else "person"
    said = {
        "kind": CAT if kind == "cat" else PERSON, "expression": EXPRESSIONS.index(look.expression),
        "turn": TURNS.index(look.turn), "hat": HATS.index(look.hat),
        "hat_colour": list(COLOURS).index(look.hat_colour) if "{" in HAT_WORDS.get(look.hat, "") else -1,
        "glasses": GLASSES.index(look.glasses), "clothes": LOOK["clothes"].index(look.clothes),
        "colour": -1 if look.clothes == "nothing" else list(COLOURS).index(look.colour),
    }  # fmt: skip
    values = {f"{kind} {name}": value for name, value in vars(who).items()}
    return (
        [said[name] for name in LOOK], [values.get(name, -1) for name in WHO],
        [values.get(name, float("nan")) for name in NUMBERS],
    )  # fmt: skip


class Labels:
    """look [B, 2, 8], who [B, 2, C], numbers [B, 2, N], setting [B, 4] of scenes."""

    def __init__(self, scenes: list[Scene]):
        parts = [[figure_labels(f) for f in (*scene.figures, None)[:2]] for scene in scenes]
        self.look, self.who = (torch.tensor([[one[i] for one in two] for two in parts]) for i in (0, 1))
        self.numbers = torch.tensor([[one[2] for one in two] for two in parts])
        self.setting = torch.tensor(
            [[words.index(getattr(scene, name)) for name, words in SETTING.items()] for scene in scenes]
        )


class Who(nn.Module):
    """From one vector [..., D] what somebody is: {choice: logits} and numbers [..., N]. Linear, as a UNet's K and V."""

    def __init__(self, width: int):
        super().__init__()
        self.choices = nn.ModuleList(nn.Linear(width, len(words)) for words in WHO.values())
        self.numbers = nn.Linear(width, len(NUMBERS))
        nn.init.constant_(self.numbers.bias, 0.5)

    def forward(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        return [head(x) for head in self.choices], self.numbers(x)


class Reader(nn.Module):
    """Contexts [B, L, D] to all labels: each query looks for its word, as a UNet's do. `named` reads a name's token."""

    def __init__(self, width: int, heads: int = 4):
        super().__init__()
        self.heads = heads
        self.queries = nn.Parameter(torch.randn(2 * (1 + len(LOOK)) + len(SETTING), width))
        self.keys, self.values = nn.Linear(width, width, bias=False), nn.Linear(width, width)
        self.look = nn.ModuleList(nn.Linear(width, len(words)) for _ in range(2) for words in LOOK.values())
        self.setting = nn.ModuleList(nn.Linear(width, len(words)) for words in SETTING.values())
        self.who, self.named = Who(width), Who(width)

    def forward(self, context: Tensor) -> tuple[list[Tensor], list[Tensor], tuple[list[Tensor], Tensor]]:
        """Logits of LOOK (twice), logits of SETTING, and `Who` of [B, 2, D]."""
        found = attention(self.queries[None], self.keys(context), self.values(context), self.heads)
        look = [head(found[:, 2 + i]) for i, head in enumerate(self.look)]
        setting = [head(found[:, i - len(SETTING)]) for i, head in enumerate(self.setting)]
        return look, setting, self.who(found[:, :2])


def misread(logits: list[Tensor], labels: Tensor) -> Tensor:
    """Sum over the columns of labels [..., C] of the cross-entropies of logits, C times [..., choices]."""
    return sum(
        F.cross_entropy(x.float().flatten(0, -2), labels[..., i].flatten(), ignore_index=-1, reduction="sum")
        for i, x in enumerate(logits)
    ) / max(1, labels[..., 0].numel())


def strange(found: tuple[list[Tensor], Tensor], who: Tensor, numbers: Tensor) -> dict[str, Tensor]:
    """How wrong `Who` is, for each somebody: a number's squared error counts in parts of its variance, about 0.05."""
    known = ~numbers.isnan()
    wrong = ((found[1].float() - numbers.nan_to_num()) ** 2)[known].sum() / max(1, known.any(-1).sum()) / 0.05
    return {"choices": misread(found[0], who), "numbers": wrong / 8}
