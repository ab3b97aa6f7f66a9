"""Train the painter. It goes on where runs/NAME/state.pt is; the text encoder stays as train_text left it.

    python -m miniworld.training.train_unet [NAME] [--steps 19000] [--threads 2] [--stop STEP] [--until FILE]

Writes runs/NAME/painter.safetensors with the averaged weights, and sheets that are painted with it.
Shapes: B latents [B, 4, 16, 16], contexts [B, 77, text.WIDTH], weights of the loss [B, 1, 16, 16].
"""

from __future__ import annotations

import argparse
from pathlib import Path

from tools import host_modules  # noqa: F401, isort: skip  (before torch)

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor

from .. import checkpoint, text, unet
from ..painting import paint
from ..splits import seed_of
from .dataset import SHARD, Shards
from .diffusion import Schedule, predict, start
from .encode import Latents
from .judging import Judge
from .learning import RUNS, Averaged, Run, device, one_thread, quickly
from .text_encoder import TextEncoder, Tokenizer

WORDLESS = 0.1  # share of pictures without a caption, for guidance
FACES = 3.0  # by how much more a face counts than what is around it
HELD_OUT = 384  # the first scenes are for the figure on unseen pictures


class Data:
    """Latents with captions."""

    def __init__(self, latents: Latents, encoder: TextEncoder, empty: Tensor):
        """empty: the tokens of no caption [longest]."""
        self.latents, self.encoder, self.empty = latents, encoder, empty.to(latents.tokens)
        shards = Shards("scenes", most=-(-len(latents) // SHARD))
        heads = F.avg_pool2d(shards.masks.amax(1, keepdim=True).float().div(255), 2)
        self.weight = (1 + (FACES - 1) * heads).to(latents.mean.device)
        self.pad = empty[-1].item()

    @torch.no_grad()
    def batch(self, rows: Tensor) -> tuple[Tensor, ...]:
        """Latents, contexts and weights of scenes [B]."""
        which, chance = torch.rand(2, len(rows), device=rows.device)
        tokens = self.latents.tokens[rows, (which * self.latents.tokens.shape[1]).long()]
        tokens = torch.where((chance < WORDLESS)[:, None], self.empty, tokens).long()
        tokens = F.pad(tokens, (0, text.LENGTH - tokens.shape[1]), value=self.pad)
        with quickly(tokens):
            context = self.encoder(tokens).float()
        return self.latents.sample(rows), context, self.weight[rows]


def steps_of(like: Tensor) -> Tensor:
    """t [B] for latents [B, ...], one from each of as many equal parts of 0..999, in random order."""
    order, inside = torch.rand(2, len(like), device=like.device)
    return (1000 * (order.argsort() + inside) / len(like)).long().clamp(max=999)


def error_of(model, schedule: Schedule, batch: tuple[Tensor, ...]) -> Tensor:
    """Weighted squared error of the velocity, each picture's [B]."""
    latents, context, weight = batch
    t = steps_of(latents)
    noisy, velocity = schedule.noisy(latents, torch.randn_like(latents), t)
    with quickly(noisy):
        found = predict(model, noisy, t, context)
    return ((found - velocity) ** 2 * weight).mean((1, 2, 3)) / weight.mean((1, 2, 3))


@torch.no_grad()
def unseen_loss(model, schedule: Schedule, data: Data) -> float:
    """The loss on pictures that training does not show, always with the same captions and noise."""
    torch.manual_seed(7)
    rows = torch.arange(HELD_OUT, device=data.weight.device)
    return torch.cat([error_of(model, schedule, data.batch(some)) for some in rows.split(48)]).mean().item()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", nargs="?", default="unet")
    parser.add_argument("--steps", type=int, default=19000)
    parser.add_argument("--stop", type=int, help="stop at this step, to go on later")
    parser.add_argument("--until", type=Path, help="stop when there is this file, to go on later")
    parser.add_argument("--batch", type=int, default=48)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--text", type=Path, default=RUNS / "text/text.safetensors")
    parser.add_argument("--vae", type=Path, default=RUNS / "vae/vae.safetensors")
    parser.add_argument("--sheets", type=float, default=20, help="minutes from one to the next; 0: none")
    args = parser.parse_args()
    one_thread()
    torch.set_num_threads(args.threads)
    patcher, clip, on = unet.build_model(), text.build_clip(), device()
    model, read = patcher.model.diffusion_model.requires_grad_(), load_file(args.text)
    start(model)
    if on.type == "cuda":
        model.to(on, memory_format=torch.channels_last)
    latents, encoder = Latents(on), TextEncoder.loaded(clip, read).to(on)
    empty = Tokenizer(clip).rows([[]], latents.tokens.shape[2])[0]
    data, schedule = Data(latents, encoder, empty), Schedule(patcher, on)
    run = Run(args.name, model, args.rate, args.steps)
    judge = Judge() if args.sheets else None
    print(f"{sum(w.numel() for w in run.weights) / 1e6:.2f} M weights, {len(latents)} scenes", flush=True)

    def write() -> Path:
        path = run.folder / "painter.safetensors"
        state = {name: value.cpu().contiguous() for name, value in model.state_dict().items()}
        checkpoint.save(path, state, read, {"step": run.step, "batch": args.batch})
        return path

    def show() -> str:
        found = f"unseen {unseen_loss(model, schedule, data):.4f}"
        if judge is None:
            return found
        models = checkpoint.load(write(), args.vae)
        return f"{found}  " + judge.judge(
            lambda prompts: paint(*models, prompts), run.folder / f"sheet_{run.step:06d}.png"
        )

    def losses() -> dict[str, Tensor]:
        rows = torch.randint(HELD_OUT, len(latents), (args.batch,), device=on)
        return {"loss": error_of(model, schedule, data.batch(rows)).mean()}

    while not (args.until and args.until.exists()):
        torch.manual_seed(seed_of("painter", run.step))
        run.learn(losses)
        if not run.keep(show, args.sheets or 1, stop=args.stop):
            break
    else:
        run.save()
    with Averaged(run):
        write()


if __name__ == "__main__":
    main()
