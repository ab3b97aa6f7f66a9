"""Train the instruments, one eye after the other; each goes on where runs/NAME/state.pt is.

    python -m miniworld.training.train_instruments face | figure | scene | join  [--steps 10000] [--round 2]

The first round, before there is a VAE, is for the VAE's loss; the second begins anew. `join` writes
runs/instruments.safetensors. Shapes: N heads of all scenes of the sets; crops.py has the rest.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..drawing.look import TURNS
from ..drawing.pictures import floats
from ..drawing.scene import LIGHTS
from ..measuring import crops, instruments
from ..splits import seed_of
from . import examination
from .dataset import VIEWS, Shards, from_json
from .learning import RUNS, Averaged, Run, device, one_thread, quickly

REBUILT = 0.4  # share of the pictures
HARD = {"expression": 2.0, "eye colour": 2.0, "hair style": 1.5, "pattern": 2.0, "clothes": 1.5}  # count more
SHARPNESS = 16.0  # of the contrast between people: one over its temperature
EYES = {"face": instruments.FaceEye, "figure": instruments.FigureEye, "scene": instruments.SceneEye}


class Heads:
    """Every head of a set, with its labels: rows [N] in the set, boxes [N, 4], labels [N, attributes] of each eye."""

    def __init__(self, name: str, device: torch.device):
        self.shards = Shards(name, device=device)
        cached = self.shards.stems[0].rsplit("/", 1)[0] + f"/labels_{len(self.shards)}.pt"
        if not Path(cached).exists():
            torch.save(self.labels(), cached)
        self.__dict__ |= torch.load(cached, map_location=device)

    def labels(self) -> dict[str, Tensor]:
        abouts = self.shards.about()
        scenes = [from_json(about) for about in abouts]
        pairs = [(row, place) for row, scene in enumerate(scenes) for place in range(len(scene.figures))]
        pairs = [(row, place) for row, place in pairs if self.shards.boxes[row, place, 2] > 0]
        figures = [scenes[row].figures[place] for row, place in pairs]
        rows, places = torch.tensor(pairs).T
        return {
            "rows": rows, "heads": self.shards.boxes.cpu()[rows, places],
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
        self.empty = Shards("empty", device=self.rows.device)
        scenes = [from_json(about) for about in self.empty.about()]
        self.empty_scene = crops.table([crops.scene_labels(scene) for scene in scenes], crops.SCENE).to(self.rows)
        return self

    def pictures(self, heads: Tensor) -> Tensor:
        """Some as the VAE gives them back, once there is one: the instruments must know people by those, too."""
        return floats(self.shards.pictures(self.rows[heads], torch.rand_like(self.rows[heads].float()) < REBUILT))


def jitter(boxes: Tensor) -> Tensor:
    """Boxes as a detector may give them: moved and scaled by a few hundredths."""
    size = torch.stack([boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]], 1)
    return boxes + (torch.rand_like(boxes) - 0.5) * 0.12 * size.repeat(1, 2)


def mirrored(x: Tensor, which: Tensor) -> Tensor:
    """Some of [B, 3, h, w] the other way round: which [B]."""
    return torch.where(which[:, None, None, None], x.flip(-1), x)


def swapped(labels: Tensor, which: Tensor, column: int, pair: tuple[int, int]) -> Tensor:
    """Labels [B, attributes] with left and right, the `pair` of a column's numbers, exchanged where `which` [B]."""
    labels, of = labels.clone(), labels[:, column]
    other = torch.where(of == pair[0], pair[1], torch.where(of == pair[1], pair[0], of))
    labels[:, column] = torch.where(which, other, of)
    return labels


def worn(x: Tensor) -> Tensor:
    """Crops as a VAE or a painter may leave them: softer, coarser, noisy, a little brighter or darker."""
    b, _, h, w = x.shape
    chance = torch.rand(5, b, 1, 1, 1, device=x.device)
    soft = F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    x = torch.lerp(x, soft, (1.6 * chance[0] - 0.6).clamp(min=0))
    coarse = F.interpolate(F.avg_pool2d(x, 2), size=(h, w), mode="bilinear")
    x = torch.lerp(x, coarse, 0.9 * (2 * chance[1] - 1).clamp(min=0))
    noise = F.avg_pool2d(torch.randn(b, 3, h + 2, w + 2, device=x.device), 3, stride=1) * 3
    x = x + 0.05 * chance[2] ** 2 * noise
    return ((x - 0.5) * (0.9 + 0.2 * chance[3]) + 0.5 + 0.1 * (chance[4] - 0.5)).clamp(0, 1)


def contrast(who: Tensor, same: Tensor) -> Tensor:
    """Each of [B, E] must find those of the same number [B] among all others (supervised contrastive)."""
    itself = torch.eye(len(who), dtype=torch.bool, device=who.device)
    scores = (SHARPNESS * who @ who.T).masked_fill(itself, -1e4)
    alike = (same[:, None] == same) & ~itself
    return -(scores.log_softmax(1) * alike).sum(1).div(alike.sum(1)).mean()


def misread(logits: dict[str, Tensor], labels: Tensor) -> Tensor:
    """The sum of the cross-entropies of what can be seen."""
    parts = (
        HARD.get(name, 1.0) * F.cross_entropy(x, y, ignore_index=-1, reduction="sum")
        for (name, x), y in zip(logits.items(), labels.T)
    )
    return sum(parts) / len(labels)


def some(count: int, like: Tensor, of: int) -> Tensor:
    """Random numbers [count] below `of`, on the device of `like`."""
    return torch.randint(of, (count,), device=like.device)


def face_losses(eye: nn.Module, views: Heads, more: Heads) -> dict[str, Tensor]:
    """40 beings of `views`, three times each, and 24 of any scenes. In a mirror everybody is somebody else."""
    who = some(40, views.rows, len(views.rows) // VIEWS)
    of = torch.rand(40, VIEWS, device=who.device).argsort(1)[:, :3]
    one, other = (who[:, None] * VIEWS + of).flatten(), some(24, views.rows, len(more.rows))
    x = torch.cat([views.pictures(one), more.pictures(other)])
    boxes = jitter(torch.cat([views.heads[one], more.heads[other]]))
    mirror = torch.rand(64, device=who.device) < 0.5
    mirror = torch.cat([mirror[:40].repeat_interleave(3), mirror[40:]])
    x = mirrored(worn(crops.face_crops(x, torch.arange(len(x), device=x.device), boxes)), mirror)
    with quickly(x):
        identity, logits, numbers = eye(x)
    true = torch.cat([views.traits[one], more.traits[other]])
    known = (true >= 0) & ~mirror[:, None]
    off = F.smooth_l1_loss(numbers, true, beta=0.1, reduction="none")
    labels = torch.cat([views.face[one], more.face[other]])
    labels = swapped(labels, mirror, list(crops.FACE).index("turn"), (TURNS.index("left"), TURNS.index("right")))
    return {
        "who": contrast(identity[: len(one)], 2 * who.repeat_interleave(3) + mirror[: len(one)]),
        "what": 0.7 * misread(logits, labels),
        "traits": 10 * (off * known).sum() / known.sum(),
    }


def figure_losses(eye: nn.Module, views: Heads, more: Heads) -> dict[str, Tensor]:
    one, other = some(48, views.rows, len(views.rows)), some(48, views.rows, len(more.rows))
    x = torch.cat([views.pictures(one), more.pictures(other)])
    boxes = jitter(torch.cat([views.heads[one], more.heads[other]]))
    labels = torch.cat([views.figure[one], more.figure[other]])
    mirror = torch.rand(96, device=x.device) < 0.5
    x = mirrored(worn(crops.figure_crops(x, torch.arange(96, device=x.device), boxes)), mirror)
    labels = swapped(labels, mirror, list(crops.FIGURE).index("light"), (LIGHTS.index("left"), LIGHTS.index("right")))
    with quickly(x):
        logits = eye(x)
    return {"what": misread(logits, labels)}


def targets(boxes: Tensor) -> tuple[Tensor, Tensor]:
    """boxes [B, 2, 4] (0: nobody) to the heat [B, GRID, GRID] (1 in the cell of a middle), and which of the two boxes a
    cell tells of, or -1."""
    x, y = (boxes[..., 0] + boxes[..., 2]) / 2, (boxes[..., 1] + boxes[..., 3]) / 2
    u, v = (x / instruments.CELL).long(), (y / instruments.CELL).long()
    cells = torch.arange(instruments.GRID, device=boxes.device)
    far = (cells - u[..., None])[:, :, None] ** 2 + ((cells - v[..., None]) ** 2)[..., None]  # [B, 2, GRID, GRID]
    far = far.masked_fill((boxes[..., 2] == 0)[..., None, None], 10_000)
    nearest, which = far.min(1)
    return torch.exp(-nearest / 1.2), which.masked_fill(nearest > 2, -1)


def scene_losses(eye: nn.Module, views: Heads, more: Heads) -> dict[str, Tensor]:
    """88 scenes, and 8 places where nobody is."""
    rows, alone = some(88, more.rows, len(more.shards)), some(8, more.rows, len(more.empty))
    rebuilt = torch.rand(88, device=rows.device) < REBUILT
    pictures = floats(torch.cat([more.shards.pictures(rows, rebuilt), more.empty.pictures(alone)]))
    boxes = torch.cat([more.shards.boxes[rows], more.empty.boxes[alone]])
    with quickly(pictures):
        logits, cells = eye(worn(crops.scene_crops(pictures)))
    heat, which = targets(boxes)
    p, true = cells[:, 0].sigmoid().clamp(1e-4, 1 - 1e-4), heat == 1
    focal = -torch.where(true, (1 - p) ** 2 * p.log(), (1 - heat) ** 4 * p**2 * (1 - p).log()).sum() / 96
    tells, which = which >= 0, which.clamp(min=0).flatten(1)
    box = boxes.gather(1, which[..., None].expand(-1, -1, 4)).view(*tells.shape, 4).movedim(-1, 1)
    middle = instruments.middles(boxes.device)
    far = (torch.cat([middle - box[:, :2], box[:, 2:] - middle], 1) / instruments.CELL).clamp(min=0.05)
    kind = F.pad(more.kinds[rows], (0, 0, 0, 8)).gather(1, which).view(tells.shape)
    off, wrong = (cells[:, 1:5] - far.log()).abs(), F.cross_entropy(cells[:, 5:], kind, reduction="none")
    return {
        "what": misread(logits, torch.cat([more.scene[rows], more.empty_scene[alone]])), "heat": focal,
        "box": 2 * (off * tells[:, None]).sum() / (4 * tells.sum()), "kind": (wrong * tells).sum() / tells.sum(),
    }  # fmt: skip


LOSSES = {"face": face_losses, "figure": figure_losses, "scene": scene_losses}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("eye", choices=[*EYES, "join"])
    parser.add_argument("--steps", type=int, default=10000)
    parser.add_argument("--round", type=int, default=2)
    parser.add_argument("--stop", type=int)
    parser.add_argument("--rate", type=float, default=1e-3)
    args = parser.parse_args()
    one_thread()
    if args.eye == "join":
        return join(args.round)
    torch.manual_seed(0)
    eye, on = EYES[args.eye]().to(device()), device()
    run = Run(f"{args.eye}_{args.round}", eye, args.rate, args.steps, 0.998)
    views = None if args.eye == "scene" else Heads("views", on)
    more = Heads("scenes", on).with_empty()
    test = examination.Trial.cached("views_tuning")
    print(f"{sum(w.numel() for w in run.weights) / 1e6:.2f} M weights, {len(more.rows)} heads", flush=True)
    while True:
        torch.manual_seed(seed_of(args.eye, run.step))
        run.learn(lambda: LOSSES[args.eye](eye, views, more))
        if not run.keep(lambda: test.brief(args.eye, eye), stop=args.stop):
            return


def join(round: int) -> None:
    """The averaged weights of all three, in one file."""
    whole = instruments.Instruments()
    for name in EYES:
        run = Run(f"{name}_{round}", getattr(whole, name), 0.0, 1)
        with Averaged(run):
            state = {key: value.clone() for key, value in getattr(whole, name).state_dict().items()}
        getattr(whole, name).load_state_dict(state)
    instruments.save(whole, RUNS / "instruments.safetensors", {})


if __name__ == "__main__":
    main()
