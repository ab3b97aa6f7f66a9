"""How much of a gradient is signal: at the word, where learning begins, for one noised picture and for several.

Near its start a token can only learn from what the gradients of single pictures have in common; the rest is noise that
averages out with their number. So this ratio tells how many passes through the UNet learning needs.

    make bench-gradient [ARGS="--people 4"]

prints it for people of the made-up world and both kinds of persona. The embeddings that Cross Initialization published
for SD2.1 imply about 0.12 for one picture.
Shapes: n gradients, P numbers of all tokens, N persona tokens, D width of the text encoder, B rows of a step.
"""

import argparse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from statistics import mean

from tools import host_modules  # noqa: F401, isort: skip  (before comfy)

import torch
from torch import Tensor, nn

from bench.pages import markdown
from bench.quality import models, photo_of
from miniworld.measuring.subjects import subject
from persona_core.batch import sample_batch
from persona_core.host.clip import text_towers
from persona_core.host.learn.autograd import differentiable
from persona_core.host.learn.denoiser import FrozenDenoiser
from persona_core.host.learn.latents import encode
from persona_core.host.learn.text import DifferentiableText
from persona_core.losses import masked_diffusion_loss
from persona_core.passes import forward
from persona_core.prompts import PHOTO_PROMPTS
from persona_core.representation import Learnable, TokenVectors
from persona_core.signal_meter import SignalMeter
from persona_core.stages import Stages
from persona_core.task import Objective, References, TrainingSettings, TrainingTask

SIZES = 1, 4, 16
# Tokens, timesteps, and whether V has tokens of its own: PersonaMagic's, and one of SeFi-IDE's five stages.
KINDS = {
    "PersonaMagic, 4 tokens": (4, Stages(), False),
    "PersonaMagic, 1 token": (1, Stages(), False),
    "K/V tokens, the middle stage": (1, Stages(400, 599), True),
}


class WordTokens(Learnable):
    """N tokens that all are the word, the same at every timestep: one set for K and V, or one for each.

    word: [D]. stages: the timesteps that are drawn.
    """

    def __init__(self, word: Tensor, tokens: int, stages: Stages, separate: bool = False):
        super().__init__()
        self.tokens, self.stages, self.widths = tokens, stages, (len(word),)
        self.register_buffer("word", word.detach().clone().float())
        self.vectors = nn.Parameter(self.word.expand(1 + separate, tokens, -1).clone())

    def at(self, t: Tensor, picture: Tensor | None = None) -> TokenVectors:
        sides = [side.expand(len(t), -1, -1) for side in self.vectors]
        return TokenVectors(sides[0], sides[-1])


@dataclass(frozen=True)
class Ratio:
    """signal: the length of the mean gradient. noise: how far a single one is from it, root mean square."""

    signal: float
    noise: float

    @property
    def value(self) -> float:
        return self.signal / self.noise


def signal_to_noise(gradients: Tensor) -> Ratio:
    """Of gradients [n, P] of independent batches; without bias, so that pure noise has a signal of about 0.

    Raises ValueError for fewer than two.
    """
    if len(gradients) < 2:
        raise ValueError(f"A spread needs at least two gradients; there is {len(gradients)}.")
    meter = SignalMeter()
    meter.observe(gradients)
    return Ratio(max(meter.signal, 0.0) ** 0.5, max(meter.noise, 0.0) ** 0.5)


def gradients(task: TrainingTask, batch_size: int, count: int) -> Tensor:
    """Of the diffusion loss with regard to all that learns: [count, P], each of a step of so many pictures."""
    objective = Objective({"noise": masked_diffusion_loss}, task.objective.prompts)
    task = replace(task, objective=objective, settings=replace(task.settings, batch_size=batch_size))
    parameters = list(task.representation.parameters())
    found = []
    for index in range(count):
        loss = masked_diffusion_loss(forward(task, sample_batch(task, index)))
        found.append(torch.cat([one.flatten() for one in torch.autograd.grad(loss, parameters)]))
    return torch.stack(found)


def ratios(task: TrainingTask, batch_sizes: Sequence[int], pictures: int) -> dict[int, Ratio]:
    """By the size of a step, each from so many pictures."""
    return {size: signal_to_noise(gradients(task, size, pictures // size)) for size in batch_sizes}


@contextmanager
def at_the_word(number: int, kind: str, split: str = "table") -> Iterator[TrainingTask]:
    """Within, what learning of somebody begins with."""
    model, clip, vae = models()
    somebody, (tokens, stages, separate) = subject(number, split), KINDS[kind]
    with torch.inference_mode():
        latents, masks = encode(model, vae, [photo_of(somebody)])
    with differentiable(model, clip.patcher):
        word = text_towers(clip).word(somebody.kind)
        yield TrainingTask(
            WordTokens(word, tokens, stages, separate),
            References(latents.clone().float(), masks.clone().float()),
            DifferentiableText(clip, tokens, somebody.kind),
            FrozenDenoiser(model),
            Objective({}, PHOTO_PROMPTS),
            TrainingSettings(),
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=6)
    parser.add_argument("--pictures", type=int, default=256, help="from which each figure is")
    args = parser.parse_args()
    head = ("", *(f"{size} picture{'s' * (size > 1)}" for size in SIZES))
    lines = [head, ("---",) * len(head)]
    for kind in KINDS:
        found = []
        for number in range(args.people):
            with at_the_word(number, kind) as task:
                found.append(ratios(task, SIZES, args.pictures))
        cells = ([one[size].value for one in found] for size in SIZES)
        lines.append((kind, *(f"{mean(values):.2f} ({min(values):.2f} to {max(values):.2f})" for values in cells)))
        print(kind, *lines[-1][1:], flush=True)
    print(f"\nSignal to noise at the word, mean of {args.people} people (least to most)\n\n{markdown(lines)}")


if __name__ == "__main__":
    main()
