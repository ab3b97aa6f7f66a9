"""How many pictures a persona needs, for gradients of a set signal: what presets reach, and what measuring finds.

    make bench-budget [ARGS="--families SD1.5"]

Needs no weights: the real representations and the real training loop, at the widths of real text encoders, learn from a
loss whose gradient at the tokens is, for each picture, s times one direction plus noise of length 1, in all directions
alike or in a few. Told is the cosine between that direction and where the tokens went: what of the change is the
person, and not chance. Writes docs/budget.md.
Shapes: B pictures, N tokens, D width, P numbers of all tokens.
"""

import argparse
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean

import torch
from torch import Tensor

from bench.pages import made, markdown
from persona_core.budget import pace
from persona_core.kv_tokens import TokenExpander
from persona_core.mapper import StageMapper, learning_units
from persona_core.noise import DiffusionSchedule
from persona_core.recipes import AUTO, KV_PRESETS, MEASURED, PRESETS
from persona_core.representation import Learnable, TokenVectors, spread
from persona_core.stages import Stages
from persona_core.task import (
    NOISE,
    Objective,
    References,
    RichPrompts,
    Step,
    TextEncoding,
    TrainingSettings,
    TrainingTask,
)
from persona_core.training import train

PAGE = Path(__file__).parent.parent / "docs/budget.md"
FAMILIES = {
    "SD1.5": (768,),
    "SD2": (1024,),
    "SDXL": (768, 1280),
    "2560 wide": (2560,),
    "4096 wide": (4096,),
}
SIGNALS = {"mapper": (1.0, 0.3, 0.12, 0.05), "kv": (1.0, 0.3, 0.12)}
WIDEST = {"mapper": 4096, "kv": 768}  # of all text encoders: shared layers of K/V tokens grow with the square
REACHED = 0.95
LENGTH = 0.39  # of a word, as in CLIP-L
TURN = math.radians(60)  # of a person from the word
FEW = 5  # directions that chance has in the made-up world, about
RUNS = {1.0: 12, 0.3: 12, 0.12: 5, 0.05: 3}  # by the signal: what is short, more often
LOOKED_AT = torch.linspace(0, 999, 21)
KINDS = {"mapper": "PersonaMagic, 4 tokens", "kv": "K/V tokens, 5 pairs"}

INTRODUCTION = """# How many pictures a persona needs, by the signal in their gradients

Written by `make bench-budget` ({made}). No diffusion model is in it: the pack's own representations and training loop
learn from a loss whose gradient at the tokens is, for each picture, a set signal in one direction and noise of length
1, in all directions alike, or, as in the made-up world, in about {few}; the signal fades where the tokens come near.
Told is the cosine between that direction and where the tokens went: 1 is the person alone, 0 is chance alone. So it
says what a budget can reach at most, at each signal, and that measuring finds the budget; not how alike anybody is.
Where chance has few directions *auto* learns longer than the cosine asks for: there chance shows in the face
([figures](luck.md)).

The embeddings that Cross Initialization published for SD2.1 imply a signal of about 0.12. *auto* measures it while it
learns, and stops where it is enough, once a second look has found nothing more: means of runs ({runs});
what it looks at counts. Beside it the fewest passes with which a fixed budget reaches {reached} at the rate that
*auto* has where chance has many directions, and the presets with their passes."""


class Nothing:
    """A text encoder and a denoiser that make nothing of anything: the loss looks at the tokens alone."""

    schedule = DiffusionSchedule(torch.linspace(1, 0, 1000))

    def encode(self, prompts, vectors: TokenVectors, rich=()) -> TextEncoding:
        nothing = torch.zeros(len(prompts), 1)
        return TextEncoding(nothing, nothing, nothing, nothing, RichPrompts(nothing, nothing, []))

    def predict(self, noisy: Tensor, t: Tensor, keys: Tensor, values: Tensor, pooled: Tensor | None = None) -> Tensor:
        return noisy


@dataclass
class Pull:
    """A loss term: draws all tokens to the person, the less the nearer they are. start, person: [P], in spreads.
    directions: of chance, [K, P], each of length 1; None: all."""

    start: Tensor
    person: Tensor
    unit: Tensor
    signal: float
    chance: torch.Generator
    directions: Tensor | None = None

    def __call__(self, step: Step) -> Tensor:
        tokens = in_spreads(step.vectors, self.unit)
        pull = (self.person - tokens.detach()) / (self.person - self.start).norm()
        count = tokens.shape[1] if self.directions is None else len(self.directions)
        noise = torch.randn(len(tokens), count, generator=self.chance) / count**0.5
        if self.directions is not None:
            noise = noise @ self.directions
        return -(tokens * (self.signal * pull + noise)).sum() / len(tokens)


def in_spreads(vectors: TokenVectors, unit: Tensor) -> Tensor:
    """[B, P]."""
    return torch.cat([(side / unit).flatten(1) for side in vectors.sides], 1)


def task_of(
    kind: str, widths: tuple[int, ...], settings: TrainingSettings, signal: float, seed: int, few: int = 0
) -> TrainingTask:
    """What is learned, from nothing but a pull. few: directions that chance has; 0: all."""
    chance = torch.Generator().manual_seed(seed)
    word = torch.cat([LENGTH * torch.nn.functional.normalize(torch.randn(w, generator=chance), dim=0) for w in widths])
    learned = representation(kind, word, widths, settings)
    unit = spread(word, widths)
    sides = [side[0] for side in learned.at(torch.zeros(1)).sides]
    person = [aside(torch.randn(side.shape, generator=chance), word, widths) for side in sides]
    start, person = (
        torch.cat([(one / unit).flatten() for one in part]) for part in ([one.detach() for one in sides], person)
    )
    directions = torch.nn.functional.normalize(torch.randn(few, len(start), generator=chance)) if few else None
    pull = Pull(start, person, unit, signal, chance, directions)
    nothing = Nothing()
    references = References(torch.zeros(1, 1, 1, 1), torch.ones(1, 1, 1, 1))
    return TrainingTask(learned, references, nothing, nothing, Objective({NOISE: pull}, ["a {}"]), settings)


def representation(kind: str, word: Tensor, widths: tuple[int, ...], settings: TrainingSettings) -> Learnable:
    if kind == "kv":
        return TokenExpander(word, 5, settings.seed, widths)
    unit, _ = learning_units(word, word, widths)
    return StageMapper(word, Stages(), 4, None, settings.seed, widths, unit)


def aside(vectors: Tensor, word: Tensor, widths: tuple[int, ...]) -> Tensor:
    """In the direction of vectors [N, D], TURN away from the word of each text encoder, on its sphere."""
    turned = []
    for part, one in zip(vectors.split(widths, -1), word.split(widths)):
        across = part - (part @ one)[..., None] * one / one.square().sum()
        across = torch.nn.functional.normalize(across, dim=-1) * one.norm()
        turned.append(math.cos(TURN) * one + math.sin(TURN) * across)
    return torch.cat(turned, -1)


@torch.no_grad()
def cosine(task: TrainingTask) -> float:
    """Between the way to the person and the way that the tokens went, mean over what is learned of timesteps."""
    learned, pull = task.representation, task.objective.terms[NOISE]
    stages = learned.stages
    vectors = learned.at(LOOKED_AT[(stages.t_lo <= LOOKED_AT) & (stages.t_hi >= LOOKED_AT)])
    moved = in_spreads(vectors, pull.unit) - pull.start
    return float(torch.nn.functional.cosine_similarity(moved, pull.person - pull.start, dim=1).mean())


def learned(kind: str, widths: tuple[int, ...], settings: TrainingSettings, signal: float, seed: int = 0, few: int = 0):
    """Cosine, passes, and the signal as it was measured."""
    task = task_of(kind, widths, replace(settings, seed=seed), signal, seed, few)
    progress = train(task)
    return cosine(task), progress.step * settings.batch_size, progress.meter.signal_to_noise


def fixed(kind: str, widths: tuple[int, ...], signal: float, passes: int, few: int) -> float:
    """The cosine after a fixed number of passes, with the rate that the measured budget has for this signal."""
    reach = task_of(kind, widths, TrainingSettings(), signal, 0).representation.reach
    rate, steps = pace(signal) / reach, passes // MEASURED.batch_size
    settings = replace(MEASURED, steps=steps, measured=False, learning_rate=rate, decay=True)
    return learned(kind, widths, settings, signal, few=few)[0]


def least_passes(kind: str, widths: tuple[int, ...], signal: float, few: int) -> int:
    """The fewest passes, to 5 %, with which a fixed budget reaches REACHED."""
    low, high = 8, 16
    while fixed(kind, widths, signal, high, few) < REACHED:
        low, high = high, 2 * high
    while high - low > max(2, 0.05 * high):
        middle = (low + high) // 4 * 2
        low, high = (low, middle) if fixed(kind, widths, signal, middle, few) >= REACHED else (middle, high)
    return high


def fixed_presets(kind: str) -> dict[str, TrainingSettings]:
    presets = {"mapper": PRESETS, "kv": KV_PRESETS}[kind]
    return {name: settings for name, settings in presets.items() if name != AUTO}


def table(kind: str, widths: tuple[int, ...], few: int = 0) -> Iterator[tuple[str, ...]]:
    """One line for each signal."""
    for signal in SIGNALS[kind]:
        presets = (learned(kind, widths, settings, signal, few=few)[0] for settings in fixed_presets(kind).values())
        runs = [learned(kind, widths, MEASURED, signal, seed, few) for seed in range(RUNS[signal])]
        reached, passes, measured = zip(*runs)
        best = least_passes(kind, widths, signal, few)
        yield (
            f"{signal:g}",
            *(f"{one:.2f}" for one in presets),
            str(best),
            f"{mean(passes):.0f} ({mean(passes) / best:.2f})",
            f"{mean(reached):.3f} ({min(reached):.3f})",
            f"{mean(measured):.3f}",
        )


def page(kinds: dict[str, str], families: dict[str, tuple[int, ...]]) -> Iterator[str]:
    runs = ", ".join(f"{count} at {signal:g}" for signal, count in RUNS.items())
    yield INTRODUCTION.format(made=made(), runs=runs, reached=REACHED, few=FEW)
    for kind, title in kinds.items():
        head = (
            "signal of a picture",
            *(f"{name} ({one.steps * one.batch_size})" for name, one in fixed_presets(kind).items()),
            f"fewest passes for {REACHED}",
            "passes of auto (times the fewest)",
            "its cosine (least)",
            "signal it found",
        )
        for family, widths in families.items():
            if sum(widths) > WIDEST[kind]:
                continue
            for few in (0, FEW) if widths == FAMILIES["SD1.5"] else (0,):
                lines = [head, ("---",) * len(head)]
                for line in table(kind, widths, few):
                    lines.append(line)
                    print(kind, family, few, *line, flush=True)
                where = f", chance in {few} directions" if few else ""
                yield f"## {title}, {family} ({' + '.join(map(str, widths))}){where}\n\n{markdown(lines)}"


def main() -> None:
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--families", nargs="+", choices=FAMILIES, default=list(FAMILIES))
    parser.add_argument("--page", type=Path, default=PAGE)
    args = parser.parse_args()
    parts: list[str] = []
    for part in page({one: KINDS[one] for one in args.kinds}, {one: FAMILIES[one] for one in args.families}):
        parts.append(part)
        args.page.write_text("\n\n".join(parts) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
