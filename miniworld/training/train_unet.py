"""Train the painter. It goes on where runs/NAME/state.pt is; the text encoder stays as train_text left it.

    python -m miniworld.training.train_unet [NAME] [--steps 16000] [--threads 2] [--stop STEP] [--until FILE]

Writes runs/NAME/painter.safetensors with the averaged weights, and sheets that are painted with it.
Shapes: B latents [B, 4, 16, 16], contexts [B, 77, text.WIDTH], weights of the loss [B, 1, 16, 16].
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path

from tools import host_modules  # noqa: F401, isort: skip  (before torch)

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor

from .. import checkpoint, text, unet
from ..splits import seed_of
from ..words.captions import caption
from .dataset import Shards, from_json
from .diffusion import Schedule, predict, start
from .encode import LATENTS, Latents
from .judging import Judge
from .learning import RUNS, Averaged, Run, one_thread, quickly
from .text_encoder import TextEncoder, Tokenizer

WORDLESS, NAMELESS = 0.1, 0.08  # shares of captions that say nothing (for guidance), and of names that are left out
FACES = 3.0  # by how much more a face counts than what is around it
HELD_OUT = 384  # the first scenes are for the figure on unseen pictures


class Data:
    """Latents with captions, which are made anew each time."""

    def __init__(self, folder: Path, tokenizer: Tokenizer, encoder: TextEncoder):
        self.latents, self.tokenizer, self.encoder = Latents(folder), tokenizer, encoder
        shards = Shards("scenes", most=-(-len(self.latents.mean) // 1000))
        abouts = shards.about()[: len(self.latents.mean)]
        self.scenes = [from_json(about) for about in abouts]
        self.names = [about["names"] for about in abouts]
        self.heads = shards.masks

    def __len__(self) -> int:
        return len(self.scenes)

    def said(self, row: int, chance: random.Random) -> str:
        if chance.random() < WORDLESS:
            return ""
        return caption(self.scenes[row], chance, [None if chance.random() < NAMELESS else n for n in self.names[row]])

    @torch.no_grad()
    def batch(self, rows: list[int], chance: random.Random, generator: torch.Generator) -> tuple[Tensor, ...]:
        """Latents, contexts and weights."""
        tokens = self.tokenizer.rows([self.tokenizer.ids(self.said(row, chance)) for row in rows])
        with quickly():
            context = self.encoder(tokens).float()
        heads = F.avg_pool2d(self.heads[rows].amax(1, keepdim=True).float().div(255), 2)
        return self.latents.sample(torch.tensor(rows), generator), context, 1 + (FACES - 1) * heads


def steps_of(count: int, generator: torch.Generator) -> Tensor:
    """t [count], one from each of as many equal parts of 0..999, in random order."""
    parts = torch.randperm(count, generator=generator) + torch.rand(count, generator=generator)
    return (1000 * parts / count).long().clamp(max=999)


def error_of(model, schedule: Schedule, batch: tuple[Tensor, ...], generator: torch.Generator) -> Tensor:
    """Weighted squared error of the velocity, each picture's [B]."""
    latents, context, weight = batch
    noise = torch.randn(latents.shape, generator=generator)
    t = steps_of(len(latents), generator)
    noisy, velocity = schedule.noisy(latents, noise, t)
    with quickly():
        found = predict(model, noisy, t, context)
    return ((found - velocity) ** 2 * weight).mean((1, 2, 3)) / weight.mean((1, 2, 3))


class Validation:
    """The loss on pictures that training does not show, always with the same noise."""

    def __init__(self, data: Data, schedule: Schedule):
        self.schedule = schedule
        chance, generator = random.Random(7), torch.Generator().manual_seed(7)
        self.batches = [data.batch(list(rows), chance, generator) for rows in torch.arange(HELD_OUT).split(48)]

    @torch.no_grad()
    def loss(self, model) -> float:
        generator = torch.Generator().manual_seed(8)
        return torch.cat([error_of(model, self.schedule, batch, generator) for batch in self.batches]).mean().item()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", nargs="?", default="unet")
    parser.add_argument("--steps", type=int, default=16000)
    parser.add_argument("--stop", type=int, help="stop at this step, to go on later")
    parser.add_argument("--until", type=Path, help="stop when there is this file, to go on later")
    parser.add_argument("--batch", type=int, default=48)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--latents", type=Path, default=LATENTS)
    parser.add_argument("--text", type=Path, default=RUNS / "text/text.safetensors")
    parser.add_argument("--vae", type=Path, default=RUNS / "vae/vae.safetensors")
    parser.add_argument("--sheets", type=float, default=20, help="minutes from one to the next")
    args = parser.parse_args()
    one_thread()
    torch.set_num_threads(args.threads)
    patcher, clip = unet.build_model(), text.build_clip()
    model, read = patcher.model.diffusion_model.requires_grad_(), load_file(args.text)
    start(model)
    encoder = TextEncoder.loaded(clip, read)
    data, schedule = Data(args.latents, Tokenizer(clip), encoder), Schedule(patcher)
    run = Run(args.name, model, args.rate, args.steps)
    validation, judge = Validation(data, schedule), Judge()
    print(f"{sum(w.numel() for w in run.weights) / 1e6:.2f} M weights, {len(data)} scenes", flush=True)

    def write() -> Path:
        path = run.folder / "painter.safetensors"
        checkpoint.save(path, model.state_dict(), read, {"step": run.step, "batch": args.batch})
        return path

    def show() -> str:
        found = f"unseen {validation.loss(model):.4f}"
        return f"{found}  " + judge.judge(write(), args.vae, run.folder / f"sheet_{run.step:06d}.png")

    while not (args.until and args.until.exists()):
        chance, generator = random.Random(seed_of("painter", run.step)), torch.Generator()
        generator.manual_seed(seed_of("painter noise", run.step))
        rows = [chance.randrange(HELD_OUT, len(data)) for _ in range(args.batch)]
        run.learn({"loss": error_of(model, schedule, data.batch(rows, chance, generator), generator).mean()})
        if not run.keep(show, args.sheets, stop=args.stop):
            break
    else:
        run.save()
    with Averaged(run):
        write()


if __name__ == "__main__":
    main()
