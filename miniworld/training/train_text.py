"""The text encoder learns to read captions, before the painter learns to paint: as CLIP could before SD was trained.

    python -m miniworld.training.train_text [NAME] [--steps 6000] [--batch 128] [--stop STEP]

From the contexts alone it must tell what the picture will show, and who somebody is from their name: at the name's
last token, and wherever a query looks for it. It goes on where runs/NAME/state.pt is, and writes
runs/NAME/text.safetensors. Shapes as in text.py and reading.py.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Sequence

from tools import host_modules  # noqa: F401, isort: skip  (before torch)

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from ..drawing.scene import Scene
from ..text import LENGTH, WIDTH, build_clip
from ..words.captions import PLACES, caption
from ..words.facts import facts
from .dataset import plan
from .learning import Averaged, Run, one_thread, quickly
from .reading import CAT, LOOK, SETTING, Labels, Reader, misread, strange
from .text_encoder import TextEncoder, Tokenizer

TRAINED, HELD_OUT = 20_000_000, 90_000_000  # numbers of scenes that are never drawn
STRANGE = 0.1  # of the captions begin or end with words that no other has, so that a prompt may hold any word
NAMES, WHOLE = 0.5, 0.05  # how much names' own tokens count; how often captions are padded to LENGTH


class Captions:
    """One of each scene: texts, tokens [B, L], and where the names in them end: (caption, slot, token)."""

    def __init__(self, tokenizer: Tokenizer, scenes: Sequence[Scene], names: Sequence[tuple], chance: random.Random):
        self.texts = [caption(scene, chance, who) for scene, who in zip(scenes, names)]
        found = [tokenizer.ids(text) for text in self.texts]
        for row in range(len(found)):
            if chance.random() < STRANGE:
                words = [chance.randrange(320, 49400) for _ in range(chance.randint(1, 6))]
                found[row] = found[row] + words if chance.random() < 0.7 else words + found[row]
        longest = min(LENGTH, 3 + max(map(len, found)))
        self.tokens = tokenizer.rows(found, LENGTH if chance.random() < WHOLE else longest)
        ends = [
            (row, slot, 1 + end_of(tokenizer.ids(name), found[row]))
            for row, who in enumerate(names) for slot, name in enumerate(who) if name
        ]  # fmt: skip
        self.ends = torch.tensor([end for end in ends if end[2] < longest])


def end_of(name: list[int], ids: list[int]) -> int:
    """The index of the last token of a name that is in there."""
    last = len(name) - 1
    return next(i + last for i in range(len(ids)) if ids[i : i + len(name)] == name)


def losses_of(encoder: TextEncoder, reader: Reader, some: Captions, labels: Labels) -> dict[str, Tensor]:
    row, slot, token = some.ends.T
    with quickly():
        context = encoder(some.tokens)
        look, setting, who = reader(context)
        named = reader.named(context[row, token])
    at_names = strange(named, labels.who[row, slot], labels.numbers[row, slot])
    return {
        "look": misread(look, labels.look.flatten(1)), "setting": misread(setting, labels.setting),
        **strange(who, labels.who, labels.numbers),
        **{f"names' {key}": NAMES * loss for key, loss in at_names.items()},
    }  # fmt: skip


class Test:
    """Captions of scenes that are not trained on."""

    def __init__(self, tokenizer: Tokenizer, count: int = 2000):
        self.scenes, self.names = zip(*map(plan, range(HELD_OUT, HELD_OUT + count)))
        self.some = Captions(tokenizer, self.scenes, self.names, random.Random(5))
        self.labels = Labels(self.scenes)
        self.said = [self.told(row) for row in range(count)]

    def told(self, row: int) -> list[tuple[int, str]]:
        """What the caption says: (slot, name of LOOK), or (-1, "place")."""
        scene, text = self.scenes[row], self.some.texts[row]
        found = [(-1, "place")] if any(words in text for words in PLACES[scene.place]) else []
        for slot, figure in enumerate(scene.figures):
            for about, ways in facts(figure).items():
                exact = ways[:2] if about == "glasses" else ways  # the others leave its kind open
                if about in LOOK and any(words in text for words in exact):
                    found.append((slot, about))
        return found

    @torch.no_grad()
    def figures(self, encoder: TextEncoder, reader: Reader) -> dict[str, float]:
        """Shares read right of what is said and of the named people's choices; R2 of their numbers."""
        parts = []
        for tokens in self.some.tokens.split(200):
            with quickly():
                parts.append(reader(encoder(tokens)))
        look = torch.stack([torch.cat(x).argmax(-1) for x in zip(*(part[0] for part in parts))], 1)
        look = look.unflatten(1, (2, -1))
        place = torch.cat([part[1][list(SETTING).index("place")] for part in parts]).argmax(-1)
        choices = torch.stack([torch.cat(x).argmax(-1) for x in zip(*(part[2][0] for part in parts))], -1)
        numbers = torch.cat([part[2][1] for part in parts]).float()
        right: dict[str, list[bool]] = {}
        for row, said in enumerate(self.said):
            right.setdefault("sides", []).append(bool((look[row, :, 0] == self.labels.look[row, :, 0]).all()))
            for slot, about in said:
                one = slot < 0 or len(self.names[row]) == 1
                here = (row, slot, list(LOOK).index(about)) if slot >= 0 else None
                same = look[here] == self.labels.look[here] if here else place[row] == self.labels.setting[row, 0]
                right.setdefault(about if one else f"{about} of two", []).append(bool(same))
        found = {name: sum(values) / len(values) for name, values in sorted(right.items())}
        return found | self.who(choices, numbers)

    def who(self, choices: Tensor, numbers: Tensor) -> dict[str, float]:
        kinds = {"one word": [], "two words": [], "of two": [], "cats": []}
        for row, slot, _ in self.some.ends.tolist():
            cat = self.labels.look[row, slot, 0] == CAT
            words = len(self.names[row][slot].split())
            kind = "of two" if len(self.names[row]) == 2 else "cats" if cat else ("one word", "two words")[words - 1]
            kinds[kind].append((row, slot))
        found = {}
        for kind, places in kinds.items():
            row, slot = torch.tensor(places).T
            true, read = self.labels.numbers[row, slot], numbers[row, slot]
            rest = (true - self.labels.numbers.flatten(0, 1).nanmean(0)) ** 2
            found[f"R2 {kind}"] = 1 - ((true - read) ** 2).nansum().item() / rest.nansum().item()
            known = self.labels.who[row, slot]
            found[f"choices {kind}"] = (choices[row, slot] == known)[known >= 0].float().mean().item()
        return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", nargs="?", default="text")
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--stop", type=int, help="stop at this step, to go on later")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rate", type=float, default=2e-3)
    args = parser.parse_args()
    one_thread()
    torch.manual_seed(0)
    clip = build_clip()
    tokenizer = Tokenizer(clip)
    encoder = TextEncoder(clip, tokenizer.used())
    reader = Reader(WIDTH)
    run = Run(args.name, nn.ModuleDict({"encoder": encoder, "reader": reader}), args.rate, args.steps)
    test = Test(tokenizer)
    sizes = [sum(w.numel() for w in module.parameters()) / 1e6 for module in (encoder, reader)]
    print(f"{sizes[0]:.2f} M weights, {len(encoder.used)} words; the reader {sizes[1]:.2f} M", flush=True)

    def show() -> str:
        return "  ".join(f"{name} {value:.3f}" for name, value in test.figures(encoder, reader).items())

    def losses() -> dict[str, Tensor]:
        first = TRAINED + run.step * args.batch
        scenes, names = zip(*map(plan, range(first, first + args.batch)))
        some = Captions(tokenizer, scenes, names, random.Random(run.step))
        return losses_of(encoder, reader, some, Labels(scenes))

    more = True
    while more:
        run.learn(losses)
        more = run.keep(show, stop=args.stop)
    with Averaged(run):
        tensors = {name: value.contiguous().clone() for name, value in encoder.tensors().items()}
        save_file(tensors, run.folder / "text.safetensors")


if __name__ == "__main__":
    main()
