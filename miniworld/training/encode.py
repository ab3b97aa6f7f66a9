"""Latents of the training scenes with their captions, ready for a painter.

    python -m miniworld.training.encode [--vae FILE] [--count 32000]  latents into cache/latents
    python -m miniworld.training.encode --rebuild views --count 8000  pictures as the VAE gives them back

cache/latents holds NNN_mean.npy and NNN_std.npy [SHARD, 4, 16, 16] float16, already scaled to unit variance: a sample
is mean + std * noise. tokens.npy [scenes, CAPTIONS, longest] uint16 holds captions, as the host's tokenizer cuts them.
vae.json says which VAE it was.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import time
from pathlib import Path

from tools import host_modules  # noqa: F401, isort: skip  (before torch)

import numpy as np
import torch
from torch import Tensor

from .. import vae as model
from ..drawing.pictures import as_bytes, floats
from ..drawing.scene import Scene
from ..splits import seed_of
from ..text import build_clip
from ..words.captions import caption
from .dataset import SHARD, Shards, from_json
from .learning import CACHE, RUNS, device, one_thread, quickly, stop_if_told
from .text_encoder import Tokenizer

LATENTS = CACHE / "latents"
CAPTIONS = 16  # of a scene
NAMELESS = 0.08  # share of names that are left out


class Latents:
    """What is on disk: mean and std [N, 4, 16, 16] float16, tokens [N, CAPTIONS, longest] int16."""

    def __init__(self, device: torch.device, folder: Path = LATENTS):
        stems = [str(path)[: -len("_std.npy")] for path in sorted(folder.glob("*_std.npy"))]
        self.mean, self.std = (
            torch.from_numpy(np.concatenate([np.load(f"{stem}_{what}.npy") for stem in stems])).to(device)
            for what in ("mean", "std")
        )
        self.tokens = torch.from_numpy(np.load(folder / "tokens.npy")[: len(self.mean)].astype(np.int32)).to(device)

    def __len__(self) -> int:
        return len(self.mean)

    def sample(self, rows: Tensor) -> Tensor:
        mean = self.mean[rows].float()
        return mean + self.std[rows].float() * torch.randn_like(mean)


def write_tokens(scenes: list[Scene], names: list[list[str | None]]) -> None:
    tokenizer, chance = Tokenizer(build_clip()), random.Random(seed_of("captions"))
    found = [
        tokenizer.ids(caption(scene, chance, [None if chance.random() < NAMELESS else name for name in who]))
        for scene, who in zip(scenes, names)
        for _ in range(CAPTIONS)
    ]
    rows = tokenizer.rows(found, 2 + max(map(len, found)))
    np.save(LATENTS / "tokens.npy", rows.view(len(scenes), CAPTIONS, -1).numpy().astype(np.uint16))


@torch.no_grad()
def encode(vae, pictures: Tensor, scale: float, block: int = 25) -> tuple[np.ndarray, np.ndarray]:
    """uint8 [N, 128, 128, 3] to mean and std."""
    means, stds = [], []
    for some in pictures.split(block):
        some = some.to(device())
        with quickly(some):
            mean, logvar = model.posterior(vae, floats(some).contiguous())
        means.append((scale * mean).cpu())
        stds.append((scale * (logvar / 2).exp()).cpu())
    return torch.cat(means).half().numpy(), torch.cat(stds).half().numpy()


def write_latents(vae, about: dict, version: str, count: int) -> None:
    LATENTS.mkdir(parents=True, exist_ok=True)
    note = LATENTS / "vae.json"
    if note.exists() and json.loads(note.read_text())["version"] != version:
        raise SystemExit(f"{LATENTS} holds latents of another VAE: remove it first")
    note.write_text(json.dumps({"version": version, **about}))
    shards = Shards("scenes", most=-(-count // SHARD))
    if not (LATENTS / "tokens.npy").exists():
        abouts = shards.about()
        write_tokens([from_json(about) for about in abouts], [about["names"] for about in abouts])
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
                some = torch.from_numpy(np.array(pictures[start : start + 20])).to(device())
                with quickly(some):
                    found.append(as_bytes(model.rebuilt(vae, floats(some).contiguous()).movedim(1, -1)).cpu())
            np.save(f"{stem}_tmp.npy", torch.cat(found).numpy())
            Path(f"{stem}_tmp.npy").replace(f"{stem}_rebuilt.npy")
            print(f"{name} rebuilt: {SHARD} more in {time.monotonic() - begin:.0f} s", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vae", type=Path, default=RUNS / "vae/vae.safetensors")
    parser.add_argument("--count", type=int, default=32000)
    parser.add_argument("--rebuild", metavar="SET")
    args = parser.parse_args()
    one_thread()
    vae, about = model.load(args.vae)
    vae.to(device())
    if args.rebuild:
        rebuild(vae, args.rebuild, args.count)
    else:
        write_latents(vae, about, hashlib.sha256(args.vae.read_bytes()).hexdigest()[:16], args.count)


if __name__ == "__main__":
    main()
