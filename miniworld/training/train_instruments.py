"""Train the instruments, one eye after the other; each goes on where runs/NAME/state.pt is.

    python -m miniworld.training.train_instruments face | figure | scene | join  [--steps 4000]

`join` writes runs/instruments.safetensors. Shapes: N heads of all scenes of the sets; crops.py has the rest.
"""

from __future__ import annotations

import argparse

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..drawing.pictures import floats
from ..measuring import crops, instruments
from ..splits import seed_of
from . import examination
from .dataset import VIEWS, Shards, from_json
from .learning import RUNS, Averaged, Run, one_thread, quickly

REBUILT = 0.4  # share of the pictures
HARD = {"expression": 2.0, "eye colour": 2.0, "hair style": 1.5, "pattern": 2.0, "clothes": 1.5}  # count more
SHARPNESS = 16.0  # of the contrast between people: one over its temperature
EYES = {"face": instruments.FaceEye, "figure": instruments.FigureEye, "scene": instruments.SceneEye}


class Heads:
    """Every head of a set, with its labels: rows [N] in the set, boxes [N, 4], labels [N, attributes] of each eye."""

    def __init__(self, name: str):
        self.shards = Shards(name)
        cached = self.shards.stems[0].rsplit("/", 1)[0] + f"/labels_{len(self.shards)}.pt"
        try:
            self.__dict__ |= torch.load(cached)
        except FileNotFoundError:
            found = self.labels()
            torch.save(found, cached)
            self.__dict__ |= found

    def labels(self) -> dict[str, Tensor]:
        abouts = self.shards.about()
        scenes = [from_json(about) for about in abouts]
        pairs = [(row, place) for row, scene in enumerate(scenes) for place in range(len(scene.figures))]
        pairs = [(row, place) for row, place in pairs if self.shards.boxes[row, place, 2] > 0]
        figures = [scenes[row].figures[place] for row, place in pairs]
        rows, places = torch.tensor(pairs).T
        return {
            "rows": rows, "heads": self.shards.boxes[rows, places],
            "face": crops.table([crops.face_labels(figure) for figure in figures], crops.FACE),
            "figure": crops.table(
                [crops.figure_labels(f, scenes[row]) for (row, _), f in zip(pairs, figures)], crops.FIGURE
            ),
            "scene": crops.table([crops.scene_labels(scene) for scene in scenes], crops.SCENE),
            "traits": torch.stack([crops.traits(figure.who) for figure in figures]),
            "size": torch.tensor([figure.size for figure in figures]),
            "kinds": torch.tensor([[kind == "Cat" for kind in (about["kinds"] * 2)[:2]] for about in abouts]).long(),
        }  # fmt: skip

    def with_empty(self) -> Heads:
        self.empty = Shards("empty")
        scenes = [from_json(about) for about in self.empty.about()]
        self.empty_scene = crops.table([crops.scene_labels(scene) for scene in scenes], crops.SCENE)
        return self

    def pictures(self, heads: Tensor, generator: torch.Generator) -> Tensor:
        """Some as the VAE gives them back, once there is one: the instruments must know people by those, too."""
        rebuilt = torch.rand(len(heads), generator=generator) < REBUILT
        return floats(self.shards.pictures(self.rows[heads].tolist(), rebuilt.tolist()))


def jitter(boxes: Tensor, generator: torch.Generator) -> Tensor:
    """Boxes as a detector may give them: moved and scaled by a few hundredths."""
    size = torch.stack([boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]], 1)
    by = (torch.rand(len(boxes), 4, generator=generator) - 0.5) * 0.12
    return boxes + by * size.repeat(1, 2)


def worn(x: Tensor, generator: torch.Generator) -> Tensor:
    """Crops as a VAE or a painter may leave them: softer, coarser, noisy, a little brighter or darker."""
    b, _, h, w = x.shape
    chance = torch.rand(5, b, 1, 1, 1, generator=generator)
    soft = F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    x = torch.lerp(x, soft, (1.6 * chance[0] - 0.6).clamp(min=0))
    coarse = F.interpolate(F.avg_pool2d(x, 2), size=(h, w), mode="bilinear")
    x = torch.lerp(x, coarse, 0.9 * (2 * chance[1] - 1).clamp(min=0))
    noise = F.avg_pool2d(torch.randn(b, 3, h + 2, w + 2, generator=generator), 3, stride=1) * 3
    x = x + 0.05 * chance[2] ** 2 * noise
    return ((x - 0.5) * (0.9 + 0.2 * chance[3]) + 0.5 + 0.1 * (chance[4] - 0.5)).clamp(0, 1)


def contrast(who: Tensor, same: Tensor) -> Tensor:
    """Each of [B, E] must find those of the same number [B] among all others (supervised contrastive)."""
    scores = (SHARPNESS * who @ who.T).masked_fill(torch.eye(len(who), dtype=torch.bool), -1e4)
    alike = (same[:, None] == same) & ~torch.eye(len(who), dtype=torch.bool)
    return -(scores.log_softmax(1) * alike).sum(1).div(alike.sum(1)).mean()


def misread(logits: dict[str, Tensor], labels: Tensor) -> Tensor:
    """The sum of the cross-entropies of what can be seen."""
    parts = (
        HARD.get(name, 1.0) * F.cross_entropy(x, y, ignore_index=-1, reduction="sum")
        for (name, x), y in zip(logits.items(), labels.T)
    )
    return sum(parts) / len(labels)


def face_losses(eye: nn.Module, views: Heads, more: Heads, generator: torch.Generator) -> dict[str, Tensor]:
    """40 beings of `views`, three times each, and 24 of any scenes."""
    who = torch.randperm(len(views.rows) // VIEWS, generator=generator)[:40]
    of = torch.rand(40, VIEWS, generator=generator).argsort(1)[:, :3]
    one, other = (who[:, None] * VIEWS + of).flatten(), torch.randint(len(more.rows), (24,), generator=generator)
    x = torch.cat([views.pictures(one, generator), more.pictures(other, generator)])
    boxes = jitter(torch.cat([views.heads[one], more.heads[other]]), generator)
    x = worn(crops.face_crops(x, torch.arange(len(x)), boxes), generator)
    with quickly():
        identity, logits, numbers = eye(x)
    true = torch.cat([views.traits[one], more.traits[other]])
    known = true >= 0
    off = F.smooth_l1_loss(numbers, true, beta=0.1, reduction="none")
    return {
        "who": contrast(identity[: len(one)], who.repeat_interleave(3)),
        "what": 0.7 * misread(logits, torch.cat([views.face[one], more.face[other]])),
        "traits": 10 * (off * known).sum() / known.sum(),
    }


def figure_losses(eye: nn.Module, views: Heads, more: Heads, generator: torch.Generator) -> dict[str, Tensor]:
    heads = torch.randint(len(more.rows), (96,), generator=generator)
    boxes = jitter(more.heads[heads], generator)
    x = worn(crops.figure_crops(more.pictures(heads, generator), torch.arange(96), boxes), generator)
    with quickly():
        logits = eye(x)
    return {"what": misread(logits, more.figure[heads])}


def targets(boxes: Tensor) -> tuple[Tensor, Tensor]:
    """boxes [B, 2, 4] (0: nobody) to the heat [B, GRID, GRID] (1 in the cell of a middle), and which of the two boxes a
    cell tells of, or -1."""
    x, y = (boxes[..., 0] + boxes[..., 2]) / 2, (boxes[..., 1] + boxes[..., 3]) / 2
    u, v = (x / instruments.CELL).long(), (y / instruments.CELL).long()
    cells = torch.arange(instruments.GRID)
    far = (cells - u[..., None])[:, :, None] ** 2 + ((cells - v[..., None]) ** 2)[..., None]  # [B, 2, GRID, GRID]
    far = far.masked_fill((boxes[..., 2] == 0)[..., None, None], 10_000)
    nearest, which = far.min(1)
    return torch.exp(-nearest / 1.2), which.masked_fill(nearest > 2, -1)


def scene_losses(eye: nn.Module, views: Heads, more: Heads, generator: torch.Generator) -> dict[str, Tensor]:
    """88 scenes, and 8 places where nobody is."""
    rows = torch.randint(len(more.shards), (88,), generator=generator)
    alone = torch.randint(len(more.empty), (8,), generator=generator)
    rebuilt = (torch.rand(88, generator=generator) < REBUILT).tolist()
    pictures = floats(torch.cat([more.shards.pictures(rows.tolist(), rebuilt), more.empty.pictures(alone.tolist())]))
    boxes = torch.cat([more.shards.boxes[rows], more.empty.boxes[alone]])
    with quickly():
        logits, cells = eye(worn(crops.scene_crops(pictures), generator))
    heat, which = targets(boxes)
    p, true = cells[:, 0].sigmoid().clamp(1e-4, 1 - 1e-4), heat == 1
    focal = -torch.where(true, (1 - p) ** 2 * p.log(), (1 - heat) ** 4 * p**2 * (1 - p).log()).sum() / 96
    i, v, u = (which >= 0).nonzero().T
    box = boxes[i, which[i, v, u]]
    middle = instruments.middles()[:, v, u].T.repeat(1, 2)
    far = ((box - middle) * torch.tensor([-1.0, -1, 1, 1]) / instruments.CELL).clamp(min=0.05)
    kind = more.kinds[rows[i], which[i, v, u]]  # none of the empty ones is among these
    return {
        "what": misread(logits, torch.cat([more.scene[rows], more.empty_scene[alone]])), "heat": focal,
        "box": 2 * F.l1_loss(cells[i, 1:5, v, u], far.log()), "kind": F.cross_entropy(cells[i, 5:, v, u], kind),
    }  # fmt: skip


LOSSES = {"face": face_losses, "figure": figure_losses, "scene": scene_losses}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("eye", choices=[*EYES, "join"])
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--stop", type=int)
    parser.add_argument("--rate", type=float, default=1e-3)
    args = parser.parse_args()
    one_thread()
    if args.eye == "join":
        return join()
    torch.manual_seed(0)
    eye = EYES[args.eye]()
    run = Run(args.eye, eye, args.rate, args.steps, 0.998)
    views, more = Heads("views") if args.eye == "face" else None, Heads("scenes").with_empty()
    test = examination.Trial.cached("views_tuning")
    print(f"{sum(w.numel() for w in run.weights) / 1e6:.2f} M weights, {len(more.rows)} heads", flush=True)
    while True:
        generator = torch.Generator().manual_seed(seed_of(args.eye, run.step))
        run.learn(LOSSES[args.eye](eye, views, more, generator))
        if not run.keep(lambda: test.brief(args.eye, eye), stop=args.stop):
            return


def join() -> None:
    """The averaged weights of all three, in one file."""
    whole = instruments.Instruments()
    for name in EYES:
        run = Run(name, getattr(whole, name), 0.0, 1)
        with Averaged(run):
            state = {key: value.clone() for key, value in getattr(whole, name).state_dict().items()}
        getattr(whole, name).load_state_dict(state)
    instruments.save(whole, RUNS / "instruments.safetensors", {})


if __name__ == "__main__":
    main()
