"""Train the VAE. It goes on where runs/NAME/state.pt is; kill it when you like.

    python -m miniworld.training.train_vae [NAME] [--stop 5000]

The first steps see small windows, the last ones whole pictures, with a perceptual loss: faces must look the same to
the instruments, which must be there by then (train_instruments, join).
Shapes: x, y: B windows [B, 3, s, s] in 0..1, weight: [B, 1, s, s].
"""

from __future__ import annotations

import argparse
import functools
import random

from tools import host_modules  # noqa: F401, isort: skip  (before torch)

import torch
import torch.nn.functional as F
from torch import Tensor

from .. import vae as model
from ..drawing.pictures import SIZE, draw, floats
from ..sheet import sheet
from ..splits import person, seed_of, view
from .dataset import Shards
from .learning import Averaged, Run, one_thread, quickly, start
from .seen import Seen

# Until which step, how large the windows are, and how many. Small ones first: what a colour and an edge are can be
# learned from many little pieces; whole pictures come last, with the instruments' loss.
STAGES = ((2500, 32, 16), (5000, 64, 8), (7500, SIZE, 3))
FACES = 3.0  # by how much more a face counts than what is around it
LOSSES = {"l1": 1.0, "edges": 1.0, "squares": 10.0, "coarse": 5.0, "kl": 1e-3, "seen": 0.3}
# The axes of the world's colours (rows): green to purple, orange to blue, dark to light, and their standard deviations.
# What varies little is learned late: of plain errors the VAE learned no green in 1200 steps.
AXES = torch.tensor([[-0.383, 0.790, -0.479], [0.681, -0.108, -0.724], [-0.623, -0.604, -0.497]])
SPREAD = torch.tensor([0.063, 0.163, 0.366])


def evened(power: float) -> Tensor:
    """[3, 3]: makes all axes equally strong (power 1) or nearly so."""
    return AXES.T @ torch.diag((SPREAD[2] / SPREAD) ** power) @ AXES


EVEN, NEARLY = evened(1.0), evened(0.7)


def recoloured(x: Tensor, matrix: Tensor) -> Tensor:
    return torch.einsum("ij,bjhw->bihw", matrix, x)


def windows(shards: Shards, step: int, count: int, size: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Windows, their weights, and of the windows that are whole pictures the heads: rows [N], boxes [N, 4].

    Three of four windows look at a head, half are mirrored."""
    chance = random.Random(seed_of("vae", step))
    rows = [chance.randrange(len(shards)) for _ in range(count)]
    pictures = floats(shards.pictures(torch.tensor(rows)))
    masks = F.interpolate(shards.masks[rows].amax(1, keepdim=True).float().div(255), size=SIZE, mode="bilinear")
    boxes = shards.boxes[rows]
    x, weight = [], []
    for i in range(count):
        if chance.random() < 0.5:
            pictures[i], masks[i] = pictures[i].flip(-1), masks[i].flip(-1)
            boxes[i, :, [0, 2]] = SIZE - boxes[i, :, [2, 0]]
        left, top, right, bottom = boxes[i, chance.randrange(1 + int(shards.boxes[rows[i], 1, 2] > 0))].tolist()
        if chance.random() < 0.75:
            corner = [chance.uniform(left, right) - size / 2, chance.uniform(top, bottom) - size / 2]
        else:
            corner = [chance.uniform(0, SIZE - size), chance.uniform(0, SIZE - size)]
        u, v = (min(max(int(c), 0), SIZE - size) for c in corner)
        x.append(pictures[i, :, v : v + size, u : u + size])
        weight.append(masks[i, :, v : v + size, u : u + size])
    heads = (shards.boxes[rows][..., 2] > 0).nonzero()
    weight = 1 + (FACES - 1) * torch.stack(weight)
    return torch.stack(x).contiguous(), weight, heads[:, 0], boxes[heads[:, 0], heads[:, 1]]


def weighted(error: Tensor, weight: Tensor) -> Tensor:
    return (error * weight).sum() / (weight.sum() * error.shape[1])


def compare(x: Tensor, y: Tensor, weight: Tensor) -> dict[str, Tensor]:
    """Of colours, of coarse colours, and of the steps between neighbours, at two scales: where a freckle is."""
    d = y - x
    even = recoloured(d, NEARLY)
    losses = {"l1": weighted(even.abs(), weight), "squares": weighted(even.square(), weight)}
    losses["coarse"] = recoloured(F.avg_pool2d(d, 4), EVEN).square().mean()
    losses["edges"] = 0.0
    for scale in (1, 2):
        part, w = F.avg_pool2d(d, scale), F.avg_pool2d(weight, scale)
        across, down = part.diff(dim=3).abs(), part.diff(dim=2).abs()
        losses["edges"] = losses["edges"] + weighted(across, w[..., 1:]) + weighted(down, w[:, :, 1:])
    return losses


def step_losses(vae, shown: tuple, noise: torch.Generator, step: int, seen=None) -> dict[str, Tensor]:
    """Squares come first, for large errors, then edges, for small things."""
    late = min(1.0, step / 900)
    x, weight, rows, boxes = shown
    with quickly():
        mean, logvar = model.posterior(vae, x)
        latents = mean + (logvar / 2).exp() * torch.randn(mean.shape, generator=noise)
        y = model.decode(vae, latents)
    losses = compare(x, y, weight)
    losses["kl"] = 0.5 * (mean**2 + logvar.exp() - 1 - logvar).mean()
    if seen is not None:
        losses["seen"] = seen(x, y, rows, boxes)
    fade = {"squares": 1 - late, "edges": 0.2 + 0.8 * late}
    return {name: LOSSES[name] * fade.get(name, 1.0) * loss for name, loss in losses.items()}


def validation(count: int = 48) -> tuple[Tensor, Tensor]:
    """Pictures of people whom training does not show, and where their heads are."""
    pictures, masks, _ = draw([view("tuning", person("tuning", index), "vae", index) for index in range(count)])
    masks = F.interpolate(masks[:, :1].float().div(255), size=SIZE, mode="bilinear")
    return floats(pictures).contiguous(), masks


def psnr(error: Tensor) -> float:
    return -10 * error.mean().log10().item()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", nargs="?", default="vae")
    parser.add_argument("--stop", type=int, help="stop at this step, to go on later")
    parser.add_argument("--rate", type=float, default=1e-3)
    args = parser.parse_args()
    one_thread()
    vae = model.build()
    start(vae, 0)
    with torch.no_grad():
        first = vae.encoder.conv_in.weight
        first.copy_(torch.einsum("oihw,ij->ojhw", first, EVEN))
    run = Run(args.name, vae, args.rate, STAGES[-1][0])
    shards, (test, heads) = Shards(), validation()
    print(f"{sum(w.numel() for w in run.weights) / 1e6:.2f} M weights, {len(shards)} scenes", flush=True)

    def show() -> str:
        with torch.no_grad(), quickly():
            mean, logvar = model.posterior(vae, test)
            y = model.rebuilt(vae, test)
        error = (y - test) ** 2
        face = (error * heads).sum() / (heads.sum() * 3)
        sheet(torch.cat([test[:16], y[:16]])[torch.arange(32).view(2, 2, 8).transpose(0, 1).flatten()], 8,
                   run.folder / f"sheet_{run.step:06d}.png")  # fmt: skip
        noise = (logvar / 2).exp().mean() / mean.std()
        green = psnr(recoloured(F.avg_pool2d(y - test, 8), AXES)[:, 0] ** 2)
        found = f"PSNR {psnr(error):.2f}, faces {psnr(face):.2f}, green {green:.2f}"
        return f"{found}; latents' std {mean.std():.2f}, noise {noise:.3f} of it"

    @functools.cache
    def seen() -> Seen:
        return Seen()

    def losses() -> dict[str, Tensor]:
        size, count = next(stage[1:] for stage in STAGES if run.step < stage[0])
        noise = torch.Generator().manual_seed(seed_of("vae noise", run.step))
        shown = windows(shards, run.step, count, size)
        return step_losses(vae, shown, noise, run.step, seen() if size == SIZE else None)

    more = run.step < STAGES[-1][0]
    while more:
        run.learn(losses)
        more = run.keep(show, stop=args.stop)
    with_average(run, vae, test)


@torch.no_grad()
def with_average(run: Run, vae, test: Tensor) -> None:
    """Write the averaged weights with the factor that gives latents unit variance."""
    with Averaged(run):
        mean = model.posterior(vae, test)[0]
        model.save(vae, run.folder / "vae.safetensors", {"scale": 1 / mean.std().item(), "step": run.step})


if __name__ == "__main__":
    main()
