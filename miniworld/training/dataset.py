"""What is drawn for training.

    python -m miniworld.training.dataset [scenes | views ...]

draws it into the cache, shard by shard; finished shards are not drawn again. `scenes` are for the painter and the VAE.
`views` show each of a few thousand strangers alone in VIEWS scenes, for the instruments: views_exam and views_tuning
those of held-out people.
Shapes: N scenes of a shard, at most 2 figures in each. Boxes are left, top, right and bottom in pixels of 128.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import random
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..drawing.identity import Cat, Person
from ..drawing.look import Look
from ..drawing.pictures import draw
from ..drawing.scene import Figure, Scene, draw_scene
from ..splits import cat, generator_of, named, person, seed_of, view
from .learning import CACHE, one_thread, stop_if_told

SHARD, VIEWS = 1000, 5
KINDS = {"person": 0.70, "people": 0.15, "cat": 0.09, "both": 0.06}
NAMED = 0.6  # of the training scenes' figures bear a name


def plan(index: int) -> tuple[Scene, tuple[str | None, ...]]:
    """A training scene, and the names of its figures: None for a stranger, whom no other scene shows."""
    chance = random.Random(seed_of("train scene", index))
    kind = chance.choices(list(KINDS), KINDS.values())[0]
    order = {"person": "p", "people": "pp", "cat": "c", "both": chance.choice(("pc", "cp"))}[kind]
    who, names = [], []
    for place, letter in enumerate(order):
        known = named()[letter == "c"]
        name = chance.choice(list(known)) if chance.random() < NAMED and len(set(names)) == len(names) else None
        name = None if name in names else name
        who.append(known[name] if name else (person, cat)[letter == "c"]("train", 2 * index + place))
        names.append(name)
    return draw_scene(who, generator_of("train", "scene", index)), tuple(names)


def plan_view(split: str, index: int) -> tuple[Scene, tuple[None]]:
    """Every sixth of those who are shown VIEWS times is a cat. Numbers from 10 million on are nobody's in `plan`."""
    who, number = index // VIEWS, 10_000_000 + index // VIEWS
    being = cat(split, number) if who % 6 == 5 else person(split, number)
    return view(split, being, "alone", index), (None,)


def plan_empty(index: int) -> tuple[Scene, tuple]:
    """A place where nobody is."""
    scene = draw_scene([], generator_of("train", "empty", index))
    return dataclasses.replace(scene, figures=()), ()


# The folders of the cache: how many scenes, and what each is.
SETS = {
    "scenes": (32000, plan),
    "views": (32000, functools.partial(plan_view, "train")),
    "views_tuning": (2000, functools.partial(plan_view, "tuning")),
    "empty": (1000, plan_empty),
    "views_exam": (4000, functools.partial(plan_view, "exam")),
}


def to_json(scene: Scene) -> dict:
    return dataclasses.asdict(scene) | {"kinds": [type(figure.who).__name__ for figure in scene.figures]}


def from_json(data: dict) -> Scene:
    figures = tuple(
        Figure({"Person": Person, "Cat": Cat}[kind](**f["who"]), Look(**f["look"]), f["x"], f["y"], f["size"])
        for kind, f in zip(data["kinds"], data["figures"])
    )
    return Scene(figures, data["place"], data["time"], data["light"], tuple(data["variant"]))


def write_shard(folder: Path, first: int, planned: Callable[[int], tuple]) -> None:
    plans = [planned(index) for index in range(first, first + SHARD)]
    pictures, masks, places = draw([scene for scene, _ in plans])
    about = [to_json(scene) | {"names": names} for scene, names in plans]
    stem = f"{folder}/{first // SHARD:03d}"
    Path(f"{stem}.json").write_text(json.dumps(about))
    np.save(f"{stem}_masks.npy", masks.numpy()), np.save(f"{stem}_boxes.npy", places.numpy())
    np.save(f"{stem}.tmp.npy", pictures.numpy())
    Path(f"{stem}.tmp.npy").replace(f"{stem}_pictures.npy")  # last: it says that the shard is whole


class Shards:
    """What is on disk of a set, the pictures memory-mapped, or all of them on a GPU."""

    def __init__(self, name: str = "scenes", most: int | None = None, device: torch.device | None = None):
        folder = CACHE / name
        self.stems = [str(path)[: -len("_pictures.npy")] for path in sorted(folder.glob("*_pictures.npy"))][:most]
        self.maps = [np.load(f"{stem}_pictures.npy", mmap_mode="r") for stem in self.stems]
        self.rebuilt = [np.load(f, mmap_mode="r") for f in map("{}_rebuilt.npy".format, self.stems) if Path(f).exists()]
        self.boxes, self.masks = (
            torch.from_numpy(np.concatenate([np.load(f"{stem}_{what}.npy") for stem in self.stems])).to(device)
            for what in ("boxes", "masks")
        )
        self.boxes, self.near = self.boxes.float(), None
        if self.boxes.is_cuda:
            self.near = [torch.cat([torch.from_numpy(np.array(one)).to(device) for one in maps])
                         for maps in (self.maps, self.rebuilt) if maps]  # fmt: skip

    def __len__(self) -> int:
        return len(self.boxes)

    def pictures(self, rows: Tensor, rebuilt: Tensor | None = None) -> Tensor:
        """[B, SIZE, SIZE, 3] uint8; where `rebuilt`, as a VAE gave them back if there is that (see encode.py)."""
        if self.near:
            found = self.near[0][rows]
            if rebuilt is None or len(self.near) == 1:
                return found
            rebuilt = rebuilt & (rows < len(self.near[1]))
            return torch.where(rebuilt[:, None, None, None], self.near[1][rows.clamp(max=len(self.near[1]) - 1)], found)
        again = rebuilt.tolist() if rebuilt is not None else [False] * len(rows)
        whose = [self.rebuilt if a and row // SHARD < len(self.rebuilt) else self.maps
                 for row, a in zip(rows.tolist(), again)]  # fmt: skip
        return torch.from_numpy(np.stack([maps[row // SHARD][row % SHARD] for maps, row in zip(whose, rows.tolist())]))

    def about(self) -> list[dict]:
        """Each scene as JSON (see from_json), with "names"."""
        return [row for stem in self.stems for row in json.loads(Path(f"{stem}.json").read_text())]


def draw_shard(name: str, first: int) -> None:
    stop_if_told()
    if not (CACHE / name / f"{first // SHARD:03d}_pictures.npy").exists():
        begin = time.monotonic()
        write_shard(CACHE / name, first, SETS[name][1])
        print(f"{name}: {first + SHARD}, the last in {time.monotonic() - begin:.0f} s", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=list(SETS))
    parser.add_argument("--most", type=int, help="no more scenes of each set than this")
    parser.add_argument("--processes", type=int, default=1)
    args = parser.parse_args()
    shards = [(name, first) for name in args.names for first in range(0, args.most or SETS[name][0], SHARD)]
    for name in args.names:
        (CACHE / name).mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(args.processes, initializer=one_thread) as pool:
        for drawn in [pool.submit(draw_shard, *shard) for shard in shards]:
            drawn.result()
