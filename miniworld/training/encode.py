"""Latents of the training scenes with their captions, ready for a painter.

    python -m miniworld.training.encode [--vae FILE] [--count 24000]  latents into cache/latents
    python -m miniworld.training.encode --rebuild views --count 8000  pictures as the VAE gives them back

cache/latents holds NNN_mean.npy and NNN_std.npy [SHARD, 4, 16, 16] float16, already scaled to unit variance: a sample
is mean + std * noise. captions.json has a scene a row: {"plain": [...], "named": [...], "names": [...]}; "named" is
empty where nobody has a name. vae.json says which VAE it was.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from pathlib import Path

from tools import host_modules  # noqa: F401, isort: skip  (before torch)

import numpy as np
import torch
from torch import Tensor

from .. import vae as model
from ..drawing.pictures import as_bytes, floats
from .dataset import SHARD, Shards
from .learning import CACHE, RUNS, one_thread, quickly, stop_if_told

LATENTS = CACHE / "latents"


class Latents:
    """What is on disk: mean and std [N, 4, 16, 16] float16, captions."""

    def __init__(self, folder: Path = LATENTS):
        stems = [str(path)[: -len("_std.npy")] for path in sorted(folder.glob("*_std.npy"))]
        self.mean, self.std = (
            torch.from_numpy(np.concatenate([np.load(f"{stem}_{what}.npy") for stem in stems]))
            for what in ("mean", "std")
        )
        self.captions = json.loads((folder / "captions.json").read_text())[: len(self.mean)]

    def sample(self, rows: Tensor, generator: torch.Generator) -> Tensor:
        mean = self.mean[rows].float()
        return mean + self.std[rows].float() * torch.randn(mean.shape, generator=generator)


@torch.no_grad()
def encode(vae, pictures: Tensor, scale: float, block: int = 25) -> tuple[np.ndarray, np.ndarray]:
    """uint8 [N, 128, 128, 3] to mean and std."""
    means, stds = [], []
    for some in pictures.split(block):
        with quickly():
            mean, logvar = model.posterior(vae, floats(some).contiguous())
        means.append(scale * mean)
        stds.append(scale * (logvar / 2).exp())
    return torch.cat(means).half().numpy(), torch.cat(stds).half().numpy()


def write_latents(vae, about: dict, version: str, count: int) -> None:
    LATENTS.mkdir(parents=True, exist_ok=True)
    note = LATENTS / "vae.json"
    if note.exists() and json.loads(note.read_text())["version"] != version:
        raise SystemExit(f"{LATENTS} holds latents of another VAE: remove it first")
    note.write_text(json.dumps({"version": version, **about}))
    shards = Shards("scenes", most=-(-count // SHARD))
    rows = [{key: row["captions"][key] for key in ("plain", "named")} | {"names": row["names"]}
            for row in shards.about()]  # fmt: skip
    (LATENTS / "captions.json").write_text(json.dumps(rows))
    for first in range(0, len(shards), SHARD):
        stop_if_told()
        stem = f"{LATENTS}/{first // SHARD:03d}"
        if not Path(f"{stem}_std.npy").exists():
            begin = time.monotonic()
            mean, std = encode(vae, torch.from_numpy(np.array(shards.maps[first // SHARD])), about["scale"])
            np.save(f"{stem}_mean.npy", mean)
            np.save(f"{stem}_tmp.npy", std)
            Path(f"{stem}_tmp.npy").replace(f"{stem}_std.npy")  # last: it says that the shard is whole
            print(f"{first + SHARD} latents, the last {SHARD} in {time.monotonic() - begin:.0f} s", flush=True)


@torch.no_grad()
def rebuild(vae, name: str, count: int) -> None:
    """Write NNN_rebuilt.npy beside NNN_pictures.npy."""
    shards = Shards(name, most=-(-count // SHARD))
    for stem, pictures in zip(shards.stems, shards.maps):
        stop_if_told()
        if not Path(f"{stem}_rebuilt.npy").exists():
            begin, found = time.monotonic(), []
            for start in range(0, SHARD, 20):
                some = torch.from_numpy(np.array(pictures[start : start + 20]))
                with quickly():
                    found.append(as_bytes(model.rebuilt(vae, floats(some).contiguous()).movedim(1, -1)))
            np.save(f"{stem}_tmp.npy", torch.cat(found).numpy())
            Path(f"{stem}_tmp.npy").replace(f"{stem}_rebuilt.npy")
            print(f"{name} rebuilt: {SHARD} more in {time.monotonic() - begin:.0f} s", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vae", type=Path, default=RUNS / "vae/vae.safetensors")
    parser.add_argument("--count", type=int, default=24000)
    parser.add_argument("--rebuild", metavar="SET")
    args = parser.parse_args()
    one_thread()
    vae, about = model.load(args.vae)
    if args.rebuild:
        rebuild(vae, args.rebuild, args.count)
    else:
        write_latents(vae, about, hashlib.sha256(args.vae.read_bytes()).hexdigest()[:16], args.count)


if __name__ == "__main__":
    main()
