"""What is measured of pictures painted with a learned person: is it that person, does it show what the prompt asked
for, and what of the one photo is in it that nobody asked for.

    from miniworld.measuring.scoring import Examiner
    somebody, prompts, examiner = subject(0), prompts_for("person"), Examiner()
    ...  # learn somebody.photo with somebody.mask; paint [said(prompt, PLACEHOLDER) for prompt in prompts]
    scores = examiner.score(pictures, list(prompts.values()), somebody)

Shapes: B pictures [B, 3, 128, 128] in 0..1. Likeness is the mean cosine with somebody's other drawings on a scale where
0 is a stranger of the same kind and 1 the same being drawn again, both on average over beings of the split `exam`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..drawing.pictures import draw, floats
from ..drawing.scene import draw_scene
from ..splits import cat, generator_of, person
from . import instruments
from .crops import SCENE, scene_crops
from .subjects import Subject

SMALL = 32  # pixels; a head whose sides are less on average (drawn: 20 to 27, others from 40 on) is a small figure's
MARGIN, LIKE = 0.25, 0.5  # by how much a head must be liker to one than to another, and how like, see PairScores
BEINGS, TIMES = 32, 3  # of each kind and how often they are drawn, to find the scale
LEAKS = ("scene", "expression", "turn", "light", "clothes")


@dataclass(frozen=True)
class Scores:
    """Of pictures of one subject, [B] each.

    likeness: of the head that is theirs; 0 where nobody is found. heads: how many are found. obeyed: whether the
    picture shows all that is asked for. leaks: for each of LEAKS, and of a hat and glasses that the photo shows, 1
    where the picture shows what the photo does, 0 where it does not, NaN where the prompt asks about it or it cannot be
    read. A leak counts only above what pictures show by chance: compare with those of the plain word.
    """

    likeness: Tensor
    heads: Tensor
    obeyed: Tensor
    leaks: dict[str, Tensor]


@dataclass(frozen=True)
class PairScores:
    """Of pictures of two subjects, the left one first.

    likeness: [B, 2] of each to the head at their place. elsewhere: [B, 2] of each to the head at the other's place;
    both are 0 where no head is. The rest is bool [B], and no picture is more than one of them. missing: fewer than two
    heads. merged: both heads are liker to the same one of the two, by MARGIN, and are like them (LIKE, since strangers
    are a little liker to one, too), or they are as alike each other as drawings of one being. swapped: each is liker
    to the head at the other's place, by MARGIN.
    """

    likeness: Tensor
    elsewhere: Tensor
    swapped: Tensor
    merged: Tensor
    missing: Tensor


@dataclass(frozen=True, eq=False)
class Head:
    """x: its middle, 0..1. sure: how sure its finder is. who: [128]. seen: words by the instruments' names."""

    x: float
    sure: float
    who: Tensor
    seen: dict[str, str]


@dataclass(frozen=True)
class Scale:
    """Mean cosines of drawings of the same being, and of others of its kind. alike: what 95 % of the same exceed."""

    same: float
    other: float
    alike: float


class Examiner:
    """The instruments, loaded, with the figures of their examination."""

    def __init__(self, path: Path = instruments.FILE):
        self.tools, self.figures = instruments.load(path)
        self.scales: dict[str, Scale] = {}

    def score(self, pictures: Tensor, asked: list[dict[str, str]], subject: Subject) -> Scores:
        """asked: what each picture's prompt asks for, as in asking.PROMPTS."""
        found, shown = self.find(pictures), self.scenes(pictures)
        alike = [self.likeness(heads, subject) for heads in found]
        chosen = [choose(heads, likes, want) for heads, likes, want in zip(found, alike, asked)]
        leaks = [
            leaked(heads[at].seen if heads else {}, scene, want, subject)
            for heads, at, scene, want in zip(found, chosen, shown, asked)
        ]
        return Scores(
            torch.tensor([likes[at].item() if heads else 0.0 for heads, likes, at in zip(found, alike, chosen)]),
            torch.tensor([len(heads) for heads in found]),
            torch.tensor([obeys(*all_) for all_ in zip(found, chosen, shown, asked)], dtype=torch.bool),
            {name: torch.tensor([row[name] for row in leaks]) for name in leaks[0]},
        )

    def score_pair(self, pictures: Tensor, left: Subject, right: Subject) -> PairScores:
        """left, right: who must be on which side of all these pictures."""
        found = [surest(heads) for heads in self.find(pictures)]
        likes = torch.zeros(len(found), 2, 2)  # pictures, places, subjects
        twins = torch.zeros(len(found), dtype=torch.bool)
        alike = max(self.scale(one.kind).alike for one in (left, right))
        for row, heads in enumerate(found):
            places = [0, 1] if len(heads) == 2 else [int(head.x > 0.5) for head in heads]
            for number, subject in enumerate((left, right)):
                likes[row, places, number] = self.likeness(heads, subject)
            twins[row] = len(heads) == 2 and heads[0].who @ heads[1].who > alike
        missing = torch.tensor([len(heads) < 2 for heads in found], dtype=torch.bool)
        own, elsewhere = likes.diagonal(dim1=1, dim2=2), likes.flip(1).diagonal(dim1=1, dim2=2)
        taken = (likes - likes.flip(2) > MARGIN) & (likes > LIKE)  # places whose heads take after a subject
        merged = ~missing & (twins | taken.all(1).any(1))
        swapped = ~missing & ~merged & (elsewhere - own > MARGIN).all(1)
        return PairScores(own, elsewhere, swapped, merged, missing)

    def find(self, pictures: Tensor) -> list[list[Head]]:
        """The heads of each picture, from left to right."""
        found = self.tools.detect(pictures)
        heads = [(row, one) for row, some in enumerate(found) for one in some]
        shown: list[list[Head]] = [[] for _ in found]
        if heads:
            rows, boxes = torch.tensor([row for row, _ in heads]), torch.tensor([one.box for _, one in heads])
            who, seen = self.tools.identify(pictures, rows, boxes), self.tools.read(pictures, rows, boxes)
            sizes = (boxes[:, 2:] - boxes[:, :2]).prod(1).sqrt()
            middles = (boxes[:, 0] + boxes[:, 2]) / 2 / pictures.shape[-1]
            for (row, one), x, face, words, size in zip(heads, middles.tolist(), who, seen, sizes.tolist()):
                shown[row].append(Head(x, one.score, face, words | ({"shot": "small"} if size < SMALL else {})))
        return [sorted(some, key=lambda head: head.x) for some in shown]

    @torch.no_grad()
    def scenes(self, pictures: Tensor) -> list[dict[str, str]]:
        """Place and time of each picture, also where nobody is."""
        logits = self.tools.scene(scene_crops(pictures))[0]
        best = {name: logits[name].argmax(1).tolist() for name in SCENE}
        return [{name: SCENE[name][best[name][row]] for name in SCENE} for row in range(len(pictures))]

    def likeness(self, heads: list[Head], subject: Subject) -> Tensor:
        """[heads]."""
        scale = self.scale(subject.kind)
        if not heads:
            return torch.zeros(0)
        redrawn = self.tools.identify(subject.redrawn, torch.arange(len(subject.redrawn)), subject.boxes)
        cosines = torch.stack([head.who for head in heads]) @ redrawn.T
        return (cosines.mean(1) - scale.other) / (scale.same - scale.other)

    def scale(self, kind: str) -> Scale:
        """Measured when it is first asked for."""
        if kind not in self.scales:
            who = [{"person": person, "cat": cat}[kind]("exam", number) for number in range(BEINGS)]
            generator = generator_of("exam", "scale", kind)
            pictures, _, boxes = draw([draw_scene([one], generator) for one in who for _ in range(TIMES)])
            drawn = self.tools.identify(floats(pictures), torch.arange(len(pictures)), boxes[:, 0].float())
            # As pictures are looked at: heads are where the instruments find them.
            heads = [max(some, key=lambda head: head.sure, default=None) for some in self.find(floats(pictures))]
            found = torch.stack([head.who if head else who for head, who in zip(heads, drawn)])
            number, every = torch.arange(len(found)) // TIMES, ~torch.eye(len(found), dtype=torch.bool)
            same, cosines = number[:, None] == number, found @ drawn.T
            alike = (found @ found.T)[same & every].quantile(0.05).item()
            self.scales[kind] = Scale(cosines[same & every].mean().item(), cosines[~same].mean().item(), alike)
        return self.scales[kind]


def surest(heads: list[Head]) -> list[Head]:
    """Two at most, from left to right."""
    return sorted(sorted(heads, key=lambda head: -head.sure)[:2], key=lambda head: head.x)


def two_asked(want: dict[str, str]) -> bool:
    return any(name.startswith("other ") for name in want)


def choose(heads: list[Head], likes: Tensor, want: dict[str, str]) -> int:
    """Which head is the subject's: the only one that is asked for is the surest; of two it is the one at its side,
    or the one that is most like the subject."""
    if not two_asked(want):
        return max(range(len(heads)), key=lambda at: heads[at].sure, default=0)
    two = [heads.index(head) for head in surest(heads)]
    if "side" in want:
        return two[0 if want["side"] == "left" else -1] if two else 0
    return max(two, key=lambda at: likes[at].item(), default=0)


def obeys(heads: list[Head], chosen: int, scene: dict[str, str], want: dict[str, str]) -> bool:
    """Whether the picture shows all of it."""
    if len(heads) < 1 + two_asked(want):
        return False
    seen = heads[chosen].seen | scene
    if two_asked(want):
        others = [head for head in surest(heads) if head is not heads[chosen]]
        seen |= {f"other {name}": word for name, word in others[0].seen.items()} | {"side": want.get("side")}
    return all(seen.get(name) == word for name, word in want.items())


def leaked(seen: dict[str, str], scene: dict[str, str], want: dict[str, str], subject: Subject) -> dict[str, float]:
    """For each of LEAKS, and of a hat and glasses that the photo shows, 1, 0 or NaN. seen: what the subject's head
    shows; nothing, where nobody is found."""
    look = subject.scene.figures[0].look
    photo = {
        "scene": {"place": subject.scene.place},
        "expression": {"expression": look.expression},
        "turn": {"turn": look.turn},
        "light": {"light": subject.scene.light},
        "clothes": {"clothes": look.clothes} | ({} if look.clothes == "nothing" else {"colour": look.colour}),
    }
    worn = {"hat": look.hat, "glasses": look.glasses}
    photo |= {name: {name: word} for name, word in worn.items() if word != "none"}
    hidden = ("expression", "light") if seen.get("shot") == "small" else ()
    shown = {name: word for name, word in (seen | scene).items() if name not in hidden}
    found = {}
    for name, words in photo.items():
        known = all(key in shown and key not in want for key in words)
        found[name] = float(words.items() <= shown.items()) if known else float("nan")
    return found
