"""Train the small painter. Stop it when you like: it goes on where its last checkpoint was.

    python -m tests.miniworld.train FOLDER [--steps 2500] [--batch 64] [--device cpu]

FOLDER gets state.safetensors (all that going on needs), miniworld.safetensors (the averaged weights, fp16) and
contact sheets painted with those.
"""

import argparse
import random
import time
from functools import cache
from pathlib import Path

from tools import host_modules  # noqa: F401, isort: skip  (before comfy)

import torch
from einops import rearrange
from safetensors.torch import load_file
from torch import Tensor
from tqdm import tqdm

from persona_core.host.clip import text_towers
from persona_core.host.learn.denoiser import FrozenDenoiser
from persona_core.host.learn.text import DifferentiableTower
from persona_core.training import add_noise

from . import captions, model
from .painting import paint
from .reading import learn_to_read
from .sheet import sheet
from .world import Scene, people, render, scenes, seed_of

NAMED, WORDLESS = 0.7, 0.1  # shares of the captions that name someone, and that say nothing (for guidance)
DECAY = 0.998
SHEET_PROMPTS = [f"a photo of {name}" for name in captions.NAMES[:8] for _ in range(2)] + [
    "a photo of a person wearing a red hat on a blue background",
    "a face with dark glasses on a yellow background",
    "a photo of a person smiling, wearing a crown on a purple background",
    "a person with long blond hair and dark skin looking surprised",
    "a photo of a face with pink hair, with round glasses, on a white background",
    "a person with a beard looking sad, wearing a blue hat",
    "emma wearing a red hat on a green background",
    "emma with sunglasses on a red background",
    "james wearing a crown, smiling on a blue background",
    "james with round glasses, looking surprised on a yellow background",
    "a photo of a person", "a photo of a face", "a person", "a face", "", "",
]  # fmt: skip


class QuickDenoiser(FrozenDenoiser):
    """The pack's own, but with plain attention: on a CPU that goes back in half the time of torch's blocked one."""

    def options(self, t: Tensor) -> dict:
        return {**super().options(t), "optimized_attention_override": plain_attention}


def plain_attention(original, query, key, value, heads, mask=None, **options):
    query, key, value = (rearrange(x, "b n (h d) -> b h n d", h=heads) for x in (query, key, value))
    weights = (query * query.shape[-1] ** -0.5 @ key.transpose(-1, -2)).softmax(-1).to(value.dtype)
    return rearrange(weights @ value, "b h n d -> b n (h d)")


class Painter:
    """What is trained: a UNet and a text encoder of the host. Of the words, only those that captions use."""

    def __init__(self, seed: int, device: str):
        self.patcher, self.clip = model.build_model(), model.build_clip()
        unet, text = self.patcher.model.diffusion_model, self.clip.cond_stage_model
        model.start(unet, seed), model.start(text, seed)
        unet.to(device), text.to(device)
        self.denoiser = QuickDenoiser(self.patcher)
        self.denoiser.device = torch.device(device)
        self.text = DifferentiableTower(text_towers(self.clip).first, None, self.denoiser.device)
        self.ids = model.word_ids(self.clip, captions.vocabulary())
        self.row = torch.full((49408,), -1)
        self.row[self.ids] = torch.arange(len(self.ids))
        self.words = model.unit_words(49408, 0)[self.ids].to(device).requires_grad_()
        trained = {f"unet.{name}": weight for name, weight in unet.named_parameters()}
        trained |= {n: weight for n, weight in text.named_parameters() if n not in (*model.UNUSED, model.WORDS)}
        self.weights = {name: weight.requires_grad_() for name, weight in trained.items()} | {model.WORDS: self.words}
        self.tokens = cache(lambda word: self.clip.tokenizer.clip_l.tokenizer(word)["input_ids"][1:-1])

    def context(self, texts: list[str]) -> Tensor:
        """Captions to contexts [B, 77, D]. Cut into words first: the host's tokenizer would cost more than a step."""
        special = self.clip.tokenizer.clip_l
        rows = []
        for text in texts:
            found = [i for word in text.replace(",", " , ").split() for i in self.tokens(word)]
            row = [special.start_token, *found, special.end_token]
            rows.append(row + [special.pad_token] * (77 - len(row)))
        words = self.words[self.row[torch.tensor(rows)].to(self.words.device)]
        return self.text.finish(self.text.hidden(words, len(rows))[0])

    @torch.no_grad()
    def keep_words_on_the_sphere(self) -> None:
        """All words are equally long, as CLIP's nearly are: personas learn directions at their word's length."""
        self.words.copy_(torch.nn.functional.normalize(self.words, dim=-1))


def captioned(count: int, seed: int, step: int) -> tuple[Scene, list[str], torch.Generator]:
    """Scenes and their captions, the same for the same seed and step."""
    generator = torch.Generator().manual_seed(seed_of("scenes", seed, step))
    chance = random.Random(f"captions {seed} {step}")
    named = [chance.randrange(len(captions.NAMES)) if chance.random() < NAMED else None for _ in range(count)]
    identity, known = people(count, seed_of("people", seed, step)), captions.named_people()
    for row, who in enumerate(named):
        if who is not None:
            identity[row] = known[who]
    scene = scenes(identity, generator)
    texts = [
        "" if chance.random() < WORDLESS
        else captions.caption(scene, row, None if who is None else captions.NAMES[who], chance)
        for row, who in enumerate(named)
    ]  # fmt: skip
    return scene, texts, generator


def loss_of(painter: Painter, args, step: int) -> Tensor:
    device = painter.words.device
    with torch.no_grad():
        scene, texts, generator = captioned(args.batch, args.seed, step)
        pictures = render(scene)[0] * 2 - 1
        noise = torch.randn(pictures.shape, generator=generator).to(device)
        t = torch.randint(1000, (args.batch,), generator=generator).to(device)
    pictures = pictures.to(device)
    with torch.autocast(device.type, torch.bfloat16):
        context = painter.context(texts)
        noisy = add_noise(pictures, noise, painter.denoiser.alphas_cumprod[t])
        output = painter.denoiser.predict(noisy, t, context, context)
    return (output.float() - painter.denoiser.target(pictures, noise, t)).square().mean()


def rate(step: int, args) -> float:
    """Warm-up, then constant, so that training can go on; down to nothing over the last fifth."""
    return args.rate * min(1, (step + 1) / 200, 5 * (1 - step / args.steps))


def train(args) -> None:
    torch.set_num_threads(args.threads)
    painter = Painter(args.seed, args.device)
    names, weights = list(painter.weights), list(painter.weights.values())
    optimizer = torch.optim.AdamW(weights, lr=args.rate, betas=(0.9, 0.99), weight_decay=0.01, fused=True)
    average = [weight.detach().clone() for weight in weights]
    state = args.folder / "state.safetensors"
    first = restore(state, names, weights, average, optimizer) if state.exists() else 0
    if first == 0:
        read(painter, names, average, args)
    saved = drawn = time.monotonic()
    smooth = None
    end = min(args.steps, args.stop or args.steps)
    bar = tqdm(range(first, end), initial=first, total=args.steps, desc="painting", mininterval=5)
    for step in bar:
        for group in optimizer.param_groups:
            group["lr"] = rate(step, args)
        loss = loss_of(painter, args, step)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        painter.keep_words_on_the_sphere()
        decay = min(DECAY, (1 + step) / (10 + step))
        torch._foreach_lerp_(average, [weight.detach() for weight in weights], 1 - decay)
        smooth = loss.item() if smooth is None else 0.98 * smooth + 0.02 * loss.item()
        bar.set_postfix(loss=f"{smooth:.4f}", refresh=False)
        now, last = time.monotonic(), step + 1 == end
        if now - saved > 60 or last:
            saved = now
            keep(state, step + 1, names, weights, average, optimizer)
        if args.sheet_every and (now - drawn > args.sheet_every * 60 or last):
            drawn = now
            draw(args.folder, step + 1, dict(zip(names, average)), painter.ids, args)


def read(painter: Painter, names, average, args) -> None:
    """Let the text encoder learn to read; the averaged weights begin with what it learned."""
    text = {name: weight for name, weight in painter.weights.items() if name.startswith("clip_l.")}
    learn_to_read(
        painter.context,
        list(text.values()),
        lambda step: captioned(64, args.seed + 1, step)[:2],
        args.reading_steps,
        painter.keep_words_on_the_sphere,
    )
    for name, mean in zip(names, average):
        if name in text:
            mean.copy_(text[name].detach())


def keep(path: Path, step: int, names, weights, average, optimizer) -> None:
    """Everything, written beside and moved over, so that a crash leaves a whole file."""
    tensors = {"step": torch.tensor(step)}
    for name, weight, mean in zip(names, weights, average):
        tensors |= {f"weight.{name}": weight.detach(), f"average.{name}": mean}
        tensors |= {f"{key}.{name}": value for key, value in optimizer.state[weight].items()}
    model.save(path.with_suffix(".new"), tensors, {"step": step}, torch.float32)
    path.with_suffix(".new").replace(path)


@torch.no_grad()
def restore(path: Path, names, weights, average, optimizer) -> int:
    tensors = load_file(path)
    for name, weight, mean in zip(names, weights, average):
        weight.copy_(tensors[f"weight.{name}"]), mean.copy_(tensors[f"average.{name}"])
        moments = {key: tensors[f"{key}.{name}"] for key in ("step", "exp_avg", "exp_avg_sq")}
        optimizer.state[weight] = {key: value.to(weight.device) for key, value in moments.items()}
    return int(tensors["step"])


def draw(folder: Path, step: int, average: dict[str, Tensor], ids: Tensor, args) -> None:
    """Export the averaged weights, load them as everyone will, and paint."""
    path = folder / "miniworld.safetensors"
    about = {"step": step, "batch": args.batch, "seed": args.seed, "names": captions.NAMES}
    model.save(path, {name: value.cpu() for name, value in average.items()} | {"words": ids}, about)
    pictures = paint(*model.load(path), SHEET_PROMPTS)
    sheet(pictures, 16, folder / f"sheet_{step:06d}.png")


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, default=2500, help="in all; over the last fifth the rate falls to 0")
    parser.add_argument("--stop", type=int, help="stop before this step, to go on later")
    parser.add_argument("--reading-steps", type=int, default=2500, help="the text encoder's, before all others")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rate", type=float, default=1.5e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--sheet-every", type=float, default=9, help="minutes; 0: none")
    train(parser.parse_args(arguments))


if __name__ == "__main__":
    main()
