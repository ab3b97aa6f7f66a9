"""Train the flow painter. It learns to say what the UNet would: what the UNet takes for picture and for noise at the
same signal-to-noise, for the same caption. So its target has no noise of its own, and a few thousand steps will do.

    python -m miniworld.training.train_transformer [NAME] [--steps 3000] [--threads 2] [--stop STEP]

It goes on where runs/NAME/state.pt is, and writes runs/NAME/flow_painter.safetensors with the averaged weights, and
sheets that are painted with it. Needs `encode` and `train_qwen`.
Shapes: B latents [B, 4, 16, 16], contexts [B, L, qwen.WIDTH].
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path

from tools import host_modules  # noqa: F401, isort: skip  (before torch)

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from .. import checkpoint, flow_checkpoint, qwen, transformer, vae
from ..painting import paint_each
from ..splits import seed_of
from ..words.captions import caption
from .attention import heads_apart
from .dataset import SHARD, Shards, from_json
from .diffusion import Schedule, predict
from .encode import NAMELESS, Latents
from .judging import Judge
from .learning import RUNS, Averaged, Run, one_thread, quickly
from .qwen_encoder import QwenEncoder, Tokenizer
from .text_encoder import Tokenizer as UNetTokenizer
from .train_qwen import split, unets_encoder

WORDLESS, FACES, HELD_OUT = 0.1, 3.0, 384  # as of train_unet
OPTIONS = {"optimized_attention_override": lambda original, *inputs, **named: heads_apart(*inputs, **named)}
SPREAD = 1.5  # the shift with which noise levels are drawn: a picture of so few cells is decided at lower ones


class PaddedText(nn.Module):
    """In the place of the transformer's text embedder: captions of different lengths in one batch, each filled up with
    the transformer's own padding, as the host fills up one."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.own, self.padding, self.lengths = model.cap_embedder, model.cap_pad_token, None

    def forward(self, contexts: Tensor) -> Tensor:
        embedded = self.own(contexts)
        inside = torch.arange(contexts.shape[1])[None] < self.lengths[:, None]
        return torch.where(inside[..., None], embedded, self.padding.to(embedded))


class Data:
    """Latents with captions, in the tokens of both text encoders."""

    def __init__(self, latents: Latents, tokenizer: Tokenizer, unets: UNetTokenizer):
        shards = Shards("scenes", most=-(-len(latents) // SHARD))
        self.scenes = [(from_json(about), about["names"]) for about in shards.about()[: len(latents)]]
        heads = F.avg_pool2d(shards.masks[: len(latents)].amax(1, keepdim=True).float().div(255), 2)
        self.latents, self.tokenizer, self.unets = latents, tokenizer, unets
        self.weight = 1 + (FACES - 1) * heads

    def tokens(self, rows: list[int], chance: random.Random) -> tuple[list[list[int]], Tensor]:
        """Of one caption of each scene, or none: ours, and the UNet's [B, text.LENGTH]."""
        mine, theirs = [], []
        for scene, who in (self.scenes[row] for row in rows):
            names = [None if chance.random() < NAMELESS else name for name in who]
            words = split(caption(scene, chance, names)) if chance.random() > WORDLESS else []
            mine.append(self.tokenizer.ids(words)[0])
            theirs.append([token for word in words for token in self.unets.word(word)])
        return mine, self.unets.rows(theirs)


class Teacher:
    """The UNet painter."""

    def __init__(self):
        patcher = checkpoint.load()[0]
        self.unet, self.encoder = patcher.model.diffusion_model, unets_encoder(checkpoint.FILE)[0]
        self.alphas_cumprod = Schedule(patcher).alphas_cumprod

    def timestep(self, alphas: Tensor) -> Tensor:
        """Between the schedule's: [B] of shares of signal [B] in the variance."""
        known = self.alphas_cumprod.flip(0)
        above = torch.searchsorted(known, alphas).clamp(1, len(known) - 1)
        share = ((alphas - known[above - 1]) / (known[above] - known[above - 1])).clamp(0, 1)
        return len(known) - 1 - (above - 1 + share)

    @torch.no_grad()
    def flow(self, noisy: Tensor, sigmas: Tensor, tokens: Tensor) -> Tensor:
        """What it takes for noise less what it takes for the picture, at (1 - sigma) picture + sigma noise."""
        wide = sigmas[:, None, None, None]
        length = ((1 - wide) ** 2 + wide**2).sqrt()
        alphas = ((1 - wide) / length) ** 2
        with quickly(noisy):
            velocity = predict(self.unet, noisy / length, self.timestep(alphas.flatten()), self.encoder(tokens).float())
        signal, noise = alphas.sqrt(), (1 - alphas).sqrt()
        mixed = noisy / length
        return (noise * mixed + signal * velocity) - (signal * mixed - noise * velocity)


def sigmas_of(rows: int) -> Tensor:
    """Noise levels [B], one from each of as many equal parts of 0..1 before the shift, in random order."""
    order, inside = torch.rand(2, rows)
    even = (order.argsort() + inside) / rows
    return SPREAD * even / (1 + (SPREAD - 1) * even)


class Student:
    """The transformer with its frozen text encoder."""

    def __init__(self, model: nn.Module, encoder: QwenEncoder, pad: int):
        self.model, self.encoder, self.pad = model, encoder, pad
        self.model.cap_embedder = self.text = PaddedText(model)

    def flow(self, noisy: Tensor, sigmas: Tensor, tokens: list[list[int]]) -> Tensor:
        self.text.lengths = torch.tensor([len(one) for one in tokens])
        longest = -(-int(self.text.lengths.max()) // transformer.PADDED) * transformer.PADDED
        rows = torch.tensor([one + [self.pad] * (longest - len(one)) for one in tokens])
        with quickly(noisy):
            with torch.no_grad():
                contexts = self.encoder(rows).float()
            return self.model(noisy, sigmas, contexts, longest, transformer_options=dict(OPTIONS)).float()

    def state(self) -> dict[str, Tensor]:
        """The model's own."""
        state = {name: value.detach().clone() for name, value in self.model.state_dict().items()}
        del state["cap_embedder.padding"]
        return {name.replace("cap_embedder.own.", "cap_embedder."): value for name, value in state.items()}


def error_of(student: Student, teacher: Teacher, data: Data, rows: list[int], chance: random.Random) -> Tensor:
    """Weighted squared error, each picture's [B]."""
    mine, theirs = data.tokens(rows, chance)
    clean, sigmas = data.latents.sample(torch.tensor(rows)), sigmas_of(len(rows))
    wide = sigmas[:, None, None, None]
    noisy = (1 - wide) * clean + wide * torch.randn_like(clean)
    target, weight = teacher.flow(noisy, sigmas, theirs), data.weight[rows]
    size = torch.tensor([-(-len(one) // transformer.PADDED) for one in mine])
    errors = torch.zeros(len(rows))
    for one in size.unique():  # the host fills up a text as far as it must: so many tokens stand before the picture
        some = (size == one).nonzero().flatten()
        found = student.flow(noisy[some], sigmas[some], [mine[row] for row in some.tolist()])
        squares = ((found - target[some]) ** 2 * weight[some]).mean((1, 2, 3)) / weight[some].mean((1, 2, 3))
        errors = errors.index_add(0, some, squares)
    return errors


@torch.no_grad()
def start(model: nn.Module, seed: int = 0) -> None:
    """Seeded first weights. Every block begins by doing little, and the output by saying nothing."""
    generator = torch.Generator().manual_seed(seed)
    for name, weight in model.named_parameters():
        if weight.ndim >= 2:
            weight.copy_(torch.randn(weight.shape, generator=generator) / weight[0].numel() ** 0.5)
        else:
            weight.fill_(1.0 if name.endswith("weight") else 0.0)
        if "adaLN_modulation" in name:
            weight.zero_()
            if weight.ndim == 1 and "final" not in name:
                weight.view(4, -1)[1::2] = 0.2  # the gates
        if name.startswith("context_refiner") and name.endswith(("norm2.weight", "ffn_norm2.weight")):
            weight.fill_(0.3)
    model.final_layer.linear.weight.zero_()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", nargs="?", default="transformer")
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--stop", type=int, help="stop at this step, to go on later")
    parser.add_argument("--batch", type=int, default=48)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--text", type=Path, default=RUNS / "qwen/text.safetensors")
    parser.add_argument("--sheets", type=float, default=20, help="minutes from one to the next; 0: none")
    args = parser.parse_args()
    one_thread()
    torch.set_num_threads(args.threads)
    read, latents = load_file(args.text), Latents(torch.device("cpu"))
    clip = qwen.build_clip()
    encoder = QwenEncoder.loaded(clip, read)
    tokenizer = Tokenizer(clip)
    data, teacher = Data(latents, tokenizer, unets_encoder(checkpoint.FILE)[1]), Teacher()
    model = transformer.build_model().model.diffusion_model.requires_grad_()
    start(model)
    student = Student(model, encoder, tokenizer.pad)
    run = Run(args.name, model, args.rate, args.steps)
    judge = Judge(path=checkpoint.FILE.with_name("instruments.safetensors")) if args.sheets else None
    print(f"{sum(w.numel() for w in run.weights) / 1e6:.2f} M weights, {len(latents)} scenes", flush=True)

    def write() -> Path:
        path = run.folder / "flow_painter.safetensors"
        flow_checkpoint.save(path, student.state(), read, {"step": run.step, "batch": args.batch})
        return path

    @torch.no_grad()
    def show() -> str:
        torch.manual_seed(7)
        found = [
            error_of(student, teacher, data, list(range(first, first + 48)), random.Random(first))
            for first in range(0, HELD_OUT, 48)
        ]
        told = f"unseen {torch.cat(found).mean().item():.4f}"
        if judge is None:
            return told
        models = flow_checkpoint.load(write(), vae.FILE)
        file = run.folder / f"sheet_{run.step:06d}.png"
        return f"{told}  " + judge.judge(lambda prompts: paint_each(*models, prompts), file)

    def losses() -> dict[str, Tensor]:
        chance = random.Random(seed_of("flow painter", run.step))
        rows = [chance.randrange(HELD_OUT, len(latents)) for _ in range(args.batch)]
        return {"loss": error_of(student, teacher, data, rows, chance).mean()}

    while True:
        torch.manual_seed(seed_of("flow painter", run.step))
        run.learn(losses)
        if not run.keep(show, args.sheets or 1, stop=args.stop):
            break
    with Averaged(run):
        write()


if __name__ == "__main__":
    main()
