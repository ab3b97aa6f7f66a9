"""How good the instruments are on people whom they have not seen.

    python -m miniworld.training.examination [--set views_exam] [--vae FILE] [--instruments FILE] [--save]

With --vae the pictures are first taken through that VAE. --save writes the figures into the instruments' file.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from ..drawing.identity import Cat
from ..drawing.pictures import draw, floats
from ..drawing.scene import Scene
from ..measuring import crops, instruments
from ..words.facts import EXPRESSIVE
from .dataset import VIEWS, Shards, from_json, plan_view
from .learning import RUNS, one_thread, quickly

WORDS = crops.FACE | crops.FIGURE | crops.SCENE


def equal_error_rate(same: Tensor, other: Tensor) -> float:
    """Where as many of the same are missed as others are taken for them. same, other: cosines, [any]."""
    if len(same) == 0 or len(other) == 0:
        return float("nan")
    levels = torch.cat([same, other]).unique()
    missed = torch.searchsorted(same.sort().values, levels).float() / len(same)
    taken = 1 - torch.searchsorted(other.sort().values, levels).float() / len(other)
    at = (missed - taken).abs().argmin()
    return ((missed[at] + taken[at]) / 2).item()


def overlap(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union of boxes [..., 4]."""
    low, high = torch.maximum(a[..., :2], b[..., :2]), torch.minimum(a[..., 2:], b[..., 2:])
    both = (high - low).clamp(min=0).prod(-1)
    areas = [(box[..., 2:] - box[..., :2]).prod(-1) for box in (a, b)]
    return both / (areas[0] + areas[1] - both)


class Trial:
    """VIEWS scenes for each of some beings, as plan_view gives them."""

    def __init__(self, scenes: list[Scene], boxes: Tensor, pictures: Callable[[Tensor], Tensor], change=None):
        """boxes: [N, 4]. pictures: rows to uint8. change: what is done to pictures before they are looked at."""
        self.count, self.boxes, self.shown, self.change = len(scenes), boxes, pictures, change
        self.figures = [scene.figures[0] for scene in scenes]
        self.cats = torch.tensor([isinstance(figure.who, Cat) for figure in self.figures])
        self.size = torch.tensor([figure.size for figure in self.figures])
        parts = (crops.face_labels(f) | crops.figure_labels(f, s) | crops.scene_labels(s)
                 for f, s in zip(self.figures, scenes))  # fmt: skip
        self.labels = crops.table(list(parts), WORDS)

    @classmethod
    def cached(cls, name: str, change=None, most: int | None = None) -> Trial:
        """Of a set on disk; `most` scenes."""
        shards = Shards(name)
        count = min(most or len(shards), len(shards)) // VIEWS * VIEWS
        scenes = [from_json(about) for about in shards.about()[:count]]
        return cls(scenes, shards.boxes[:count, 0], shards.pictures, change)

    @classmethod
    def drawn(cls, split: str, count: int, change=None) -> Trial:
        """Drawn now."""
        scenes = [plan_view(split, index)[0] for index in range(count)]
        pictures, _, boxes = draw(scenes)
        return cls(scenes, boxes[:, 0].float(), lambda rows: pictures[rows], change)

    def blocks(self, block: int = 100, plain: bool = False, device: torch.device | None = None):
        """Pictures, rows and boxes; plain: as they were drawn."""
        for rows in torch.arange(self.count).split(block):
            pictures = floats(self.shown(rows)).to(device)
            pictures = self.change(pictures) if self.change and not plain else pictures
            yield pictures, torch.arange(len(rows), device=device), self.boxes[rows].to(device)

    @torch.no_grad()
    def brief(self, name: str, eye) -> str:
        """A line for the training of one eye, on the figures that are not small."""
        who, read, found = [], [], []
        for pictures, rows, boxes in self.blocks(device=next(eye.parameters()).device):
            with quickly(pictures):
                if name == "scene":
                    logits, cells = eye(crops.scene_crops(pictures))
                    found.append(best_overlap(cells, boxes).cpu())
                elif name == "figure":
                    logits = eye(crops.figure_crops(pictures, rows, boxes))
                else:
                    identity, logits, _ = eye(crops.face_crops(pictures, rows, boxes))
                    who.append(identity.cpu())
            read.append(torch.stack([x.argmax(1) for x in logits.values()], 1).cpu())
        right = self.accuracies(torch.cat(read), list(logits))
        line = "  ".join(f"{key} {value:.3f}" for key, value in right.items())
        if who:
            errors = self.identities(torch.cat(who))
            line += "  EER " + ", ".join(f"{key} {value:.4f}" for key, value in errors.items())
        return line + (f"  boxes {torch.cat(found).mean():.3f}" if found else "")

    def accuracies(self, read: Tensor, names: list[str], small: bool = False) -> dict[str, float]:
        """Shares that are read right of what can be seen. read: [N, names]."""
        columns = [list(WORDS).index(name) for name in names]
        sized = (self.size >= EXPRESSIVE) != small
        found = {}
        for name, column, values in zip(names, columns, read.T):
            known = (self.labels[:, column] >= 0) & sized
            found[name] = (values == self.labels[:, column])[known].float().mean().item()
        return found

    def identities(self, who: Tensor, other: Tensor | None = None) -> dict[str, float]:
        """Equal error rates of people; pairs that differ in something, or where something is worn.

        other: identities of the same scenes by other pictures, with which `who` is then compared."""
        looks, people = [f.look for f in self.figures], ~self.cats
        near = self.size >= EXPRESSIVE
        number = torch.arange(self.count) // VIEWS
        turn = torch.tensor([crops.TURNS.index(look.turn) for look in looks])
        mood = torch.tensor([crops.EXPRESSIONS.index(look.expression) for look in looks])
        hat = torch.tensor([look.hat not in ("none", "flowers") for look in looks])
        dark = torch.tensor([look.glasses in ("sunglasses", "heart glasses") for look in looks])
        a, b = torch.triu_indices(self.count, self.count, 1)
        scores = (who.float() @ (who if other is None else other).float().T)[a, b]
        same, ok = number[a] == number[b], people[a] & people[b] & near[a] & near[b]
        ways = {
            "all": ok, "other turn": ok & (turn[a] != turn[b]), "other mood": ok & (mood[a] != mood[b]),
            "both": ok & (turn[a] != turn[b]) & (mood[a] != mood[b]), "hats": ok & (hat[a] | hat[b]),
            "dark glasses": ok & (dark[a] | dark[b]), "bare": ok & ~(hat[a] | hat[b] | dark[a] | dark[b]),
            "small": people[a] & people[b] & (near[a] ^ near[b]), "cats": ~people[a] & ~people[b] & near[a] & near[b],
        }  # fmt: skip
        return {key: equal_error_rate(scores[rows & same], scores[rows & ~same]) for key, rows in ways.items()}


def best_overlap(cells: Tensor, boxes: Tensor) -> Tensor:
    """[B], of the box in the surest cell with the true one."""
    best = cells[:, 0].flatten(1).argmax(1)
    found = instruments.boxes_of(cells).flatten(2)[torch.arange(len(cells), device=cells.device), :, best]
    return overlap(found, boxes)


@torch.no_grad()
def detection(tools: instruments.Instruments, name: str, change=None, count: int = 2000) -> dict[str, float]:
    """Of faces in a set: precision, recall and the mean overlap of what is found; a hit overlaps by half."""
    shards = Shards(name, most=-(-count // 1000))
    hits, found, there, near, kinds = 0, 0, 0, 0.0, 0
    abouts = shards.about()
    for start in range(0, min(count, len(shards)), 100):
        rows = range(start, start + 100)
        pictures = floats(shards.pictures(torch.tensor(rows)))
        for row, some in zip(rows, tools.detect(change(pictures) if change else pictures)):
            true = [(box, kind) for box, kind in zip(shards.boxes[row], abouts[row]["kinds"]) if box[2] > 0]
            found, there = found + len(some), there + len(true)
            for box, kind in true:
                best = max(some, key=lambda one: overlap(torch.tensor(one.box), box), default=None)
                much = overlap(torch.tensor(best.box), box).item() if best else 0.0
                hits, near = hits + (much >= 0.5), near + much * (much >= 0.5)
                kinds += much >= 0.5 and best.kind == kind.lower()
    return {"precision": hits / max(found, 1), "recall": hits / max(there, 1), "overlap": near / max(hits, 1),
            "kind": kinds / max(hits, 1), "found": found}  # fmt: skip


@torch.no_grad()
def examine(tools: instruments.Instruments, test: Trial) -> dict:
    """How well people are told apart, and what is worn is read."""
    who, read = [], []
    for pictures, rows, boxes in test.blocks():
        who.append(tools.identify(pictures, rows, boxes))
        logits = tools.logits(pictures, rows, boxes)
        read.append(torch.stack([x.argmax(1) for x in logits.values()], 1))
    who, read = torch.cat(who), torch.cat(read)
    same = who.view(-1, VIEWS, who.shape[1])
    inside = torch.stack([(same[:, i] * same[:, j]).sum(-1) for i in range(VIEWS) for j in range(i)])
    found = {}
    if test.change:
        drawn = torch.cat([tools.identify(*block) for block in test.blocks(plain=True)])
        found = {"kept": (drawn * who).sum(-1).mean().item(), "eer against drawings": test.identities(drawn, who)}
    return found | {
        "eer": test.identities(who), "accuracy": test.accuracies(read, list(logits)),
        "accuracy_small": test.accuracies(read, list(logits), small=True), "same_mean": inside.mean().item(),
        "other_mean": (who[::VIEWS] @ who[1::VIEWS].T)[~torch.eye(len(who) // VIEWS, dtype=bool)].mean().item(),
    }  # fmt: skip


def rounded(x):
    return {key: rounded(value) for key, value in x.items()} if isinstance(x, dict) else round(float(x), 4)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", default="views_exam")
    parser.add_argument("--instruments", type=Path, default=RUNS / "instruments.safetensors")
    parser.add_argument("--vae", type=Path)
    parser.add_argument("--most", type=int)
    parser.add_argument("--save", action="store_true")
    args = parser.parse_args()
    one_thread()
    (tools, known), change = instruments.load(args.instruments), None
    if args.vae:
        from tools import host_modules  # noqa: F401

        from ..vae import load, rebuilt

        vae, _ = load(args.vae)

        def change(pictures: Tensor) -> Tensor:
            with quickly():
                return rebuilt(vae, pictures)

    figures = examine(tools, Trial.cached(args.set, change, args.most))
    figures["detection"] = detection(tools, args.set, change, args.most or 2000)
    figures["nobody"] = detection(tools, "empty", change, 300)["found"] / 300
    print(json.dumps(rounded(figures), indent=1))
    if args.save:
        known = known | {"through the VAE": rounded(figures)} if args.vae else rounded(figures)
        instruments.save(tools, args.instruments, known)
