"""The flow painter's text encoder learns to say what the UNet's says: from its context at a word's last token, that of
the UNet's encoder at the word's end can be read off, and from what the template appends, that at the caption's end.

    python -m miniworld.training.train_qwen [NAME] [--steps 700] [--batch 192] [--painter FILE]

It goes on where runs/NAME/state.pt is, and writes runs/NAME/text.safetensors.
Shapes: B captions; L tokens of this encoder, M of the UNet's; P places at which both are compared.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Sequence
from pathlib import Path

from tools import host_modules  # noqa: F401, isort: skip  (before torch)

import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from .. import checkpoint, qwen, text
from ..packing import unpack
from ..splits import named
from ..words.captions import caption, prompt_words
from .dataset import Shards, from_json
from .encode import NAMELESS
from .learning import Averaged, Run, one_thread, quickly
from .qwen_encoder import QwenEncoder, Tokenizer
from .text_encoder import TextEncoder
from .text_encoder import Tokenizer as UNetTokenizer

HELD_OUT = 1000  # scenes
STRANGE = 0.1  # of the captions begin or end with words that no other has, so that a prompt may hold any word


def split(caption: str) -> list[str]:
    return caption.replace(",", " , ").split()


class Captions:
    """Texts in the tokens of both encoders."""

    def __init__(self, tokenizer: Tokenizer, unets: UNetTokenizer):
        self.tokenizer, self.unets = tokenizer, unets

    def batch(self, texts: Sequence[str], chance: random.Random) -> tuple[Tensor, Tensor, Tensor]:
        """Tokens [B, L] and [B, M], and where they are compared [P, 3]: row, place, the UNet's place."""
        mine, theirs, places = [], [], []
        for row, written in enumerate(texts):
            words = split(written)
            ids, ends = self.tokenizer.ids(words)
            each = [self.unets.word(word) for word in words]
            theirs_ends = torch.tensor([len(one) for one in each]).cumsum(0).tolist() if each else []
            other = [token for one in each for token in one]
            if chance.random() < STRANGE and words:
                strange = [chance.randrange(1000, 150000) for _ in range(chance.randint(1, 6))]
                at = ends[-1] + 1
                ids = ids[:at] + strange + ids[at:]
            fits = [pair for pair in zip(ends, theirs_ends) if pair[1] <= text.LENGTH - 2]
            places += [(row, *pair) for pair in fits]
            end = min(1 + len(other), text.LENGTH - 1)
            places += [(row, place, end) for place in range(len(ids) - len(self.tokenizer.after), len(ids))]
            mine.append(ids)
            theirs.append(other)
        longest = max(map(len, mine))
        rows = torch.tensor([ids + [self.tokenizer.pad] * (longest - len(ids)) for ids in mine])
        return rows, self.unets.rows(theirs, min(text.LENGTH, 2 + max(map(len, theirs)))), torch.tensor(places)


class Reader(nn.Module):
    """What the UNet's encoder says, from a context of ours."""

    def __init__(self):
        super().__init__()
        self.read = nn.Linear(qwen.WIDTH, text.WIDTH)
        nn.init.normal_(self.read.weight, std=qwen.WIDTH**-0.5)

    def forward(self, contexts: Tensor) -> Tensor:
        return self.read(F.rms_norm(contexts, contexts.shape[-1:]))


def used_tokens(tokenizer: Tokenizer, texts: Sequence[str]) -> Tensor:
    words = {word for written in texts for word in split(written)}
    words |= {word for written in prompt_words() for word in split(written)}
    words |= {word for kind in named() for name in kind for word in name.split()}
    both = {token for word in words for form in (word, f" {word}") for token in tokenizer.word(form)}
    return torch.tensor(sorted(both.union(tokenizer.before, tokenizer.after, tokenizer.word(","))))


def unets_encoder(path: Path) -> tuple[TextEncoder, UNetTokenizer]:
    clip = text.build_clip()
    with safe_open(path, framework="pt") as file:
        tensors = unpack({key: file.get_tensor(key) for key in file.keys() if not key.startswith("unet.")})  # noqa: SIM118
    return TextEncoder.loaded(clip, tensors), UNetTokenizer(clip)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", nargs="?", default="qwen")
    parser.add_argument("--steps", type=int, default=700)
    parser.add_argument("--batch", type=int, default=192)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--stop", type=int, help="stop at this step, to go on later")
    parser.add_argument("--painter", type=Path, default=checkpoint.FILE)
    args = parser.parse_args()
    one_thread()
    torch.set_num_threads(args.threads)
    told = Shards("scenes").about()
    scenes = [(from_json(about), about["names"]) for about in told]
    chance = random.Random("words")
    unet, unets_tokenizer = unets_encoder(args.painter)
    clip = qwen.build_clip()
    tokenizer = Tokenizer(clip)
    used = used_tokens(tokenizer, [caption(scene, chance, who) for scene, who in scenes])
    encoder, captions = QwenEncoder(clip, used).requires_grad_(), Captions(tokenizer, unets_tokenizer)
    modules = nn.ModuleDict({"encoder": encoder, "reader": Reader()})
    run = Run(args.name, modules, args.rate, args.steps)
    print(f"{sum(w.numel() for w in run.weights) / 1e6:.2f} M weights, {len(used)} tokens", flush=True)

    def texts(some: Sequence[tuple], chance: random.Random) -> list[str]:
        return [
            caption(scene, chance, [None if chance.random() < NAMELESS else name for name in who])
            if chance.random() > 0.02
            else ""
            for scene, who in some
        ]

    def error(some: Sequence[tuple], chance: random.Random) -> Tensor:
        """Mean squared error, as a share of the variance."""
        mine, theirs, (rows, here, there) = (*(found := captions.batch(texts(some, chance), chance))[:2], found[2].T)
        with torch.no_grad(), quickly():
            target = unet(theirs)[rows, there].float()
        with quickly():
            said = modules["reader"](encoder(mine)[rows, here]).float()
        return ((said - target) ** 2).mean() / (target - target.mean(0)).square().mean()

    def losses() -> dict[str, Tensor]:
        chance = random.Random(run.step)
        return {"loss": error(chance.sample(scenes[HELD_OUT:], args.batch), chance)}

    def show() -> str:
        with torch.no_grad():
            return f"unseen {error(scenes[:HELD_OUT:2], random.Random(0)).item():.4f}"

    def write() -> None:
        tensors = {name: value.contiguous().clone() for name, value in encoder.tensors().items()}
        save_file(tensors, run.folder / "text.safetensors")

    while True:
        run.learn(losses)
        if not run.keep(show, 2, stop=args.stop):
            break
    with Averaged(run):
        write()


if __name__ == "__main__":
    main()
