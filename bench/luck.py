"""Measure what chance decides: each person is learned with several seeds, and nothing else differs.

    make bench-luck [ARGS="--people 2 --seeds 4"]

Takes an hour on 2 cores and writes docs/luck.md. A run that was stopped goes on where it was.
"""

import argparse
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean

from tools import host_modules  # noqa: F401, isort: skip  (before comfy)

import torch
from torch import Tensor

from bench.choices import FULL, KV
from bench.pages import made, markdown
from bench.quality import PACK, PLACEHOLDER, Bench, bench_of, examiner, in_processes, learned, models, paint, photo_of
from miniworld.measuring.asking import prompts_for, said
from miniworld.measuring.subjects import subject
from persona_core.files import write_whole
from persona_core.host.apply.encoding import apply_to_clip
from persona_core.photos import Photo
from persona_core.recipes import BALANCED, PRESETS, Recipe
from persona_core.table import AppliedPersona

PAGE = PACK / "docs/luck.md"
PICTURES = 8  # of each prompt, the same for all seeds

INTRODUCTION = """# What chance decides, measured in a small world

Written by `make bench-luck` ({made}). {people} people of the split *release*, each learned from one photo with {seeds}
seeds; prompts and scores as in [quality.md](quality.md), {pictures} pictures of each prompt, with the same noise for
every seed. Told is the standard deviation over the seeds of one person, as a root mean square over people, and the
largest. A part of it is not the persona's: each picture can turn out one way or the other, and a mean of {all_pictures}
pictures keeps some of that. How much, the pictures of one persona among themselves tell (the residual of a two-way
analysis of variance, seeds by pictures); *learning's own* is the deviation without it."""


def ways() -> dict[str, tuple[str, Recipe]]:
    """Title and recipe by a short name."""
    return {
        "balanced": ("*balanced*, 4 tokens", replace(FULL, learning=PRESETS[BALANCED])),
        "auto": ("*auto*, 4 tokens", FULL),
        "auto_one": ("*auto*, one token", replace(FULL, tokens=1)),
        "kv": ("*auto*, K/V tokens", KV),
    }


def tried_out(recipe: Recipe, photo: Photo, number: int, split: str) -> Tensor:
    """[2, pictures]: likeness, and likeness where the prompt was obeyed, of one learning."""
    ((_, _, persona),) = learned(recipe, [photo], (recipe.learning.steps,))
    clip = apply_to_clip(models()[1], AppliedPersona(persona), PLACEHOLDER)
    somebody, prompts = subject(number, split), prompts_for()
    asked = [said(prompt, PLACEHOLDER) for prompt in prompts]
    pictures = torch.cat([paint(clip, asked, PICTURES * number + picture) for picture in range(PICTURES)])
    scores = examiner().score(pictures, list(prompts.values()) * PICTURES, somebody)
    return torch.stack([scores.likeness, scores.likeness * scores.obeyed])


def work(bench: Bench, job: str, number: int) -> str:
    """One person, learned in one way with one seed, in a process of its own."""
    torch.set_num_threads(1)
    name, seed = job.split()
    _, recipe = ways()[name]
    recipe = replace(recipe, learning=replace(recipe.learning, seed=int(seed)))
    found = tried_out(recipe, photo_of(subject(number, bench.split)), number, bench.split)
    write_whole(bench.file(f"{name}-{seed}", number), json.dumps(found.tolist()).encode())
    return f"{job} {number}"


def variances(scores: Tensor) -> tuple[float, float]:
    """Of one person's mean score over the seeds: as it is, and what painting adds. scores: [seeds, pictures]."""
    seeds, pictures = scores.shape
    residual = scores - scores.mean(0) - scores.mean(1, keepdim=True) + scores.mean()
    by_chance = residual.square().sum().item() / ((seeds - 1) * (pictures - 1) * pictures)
    return scores.mean(1).var().item(), by_chance


HEADINGS = (
    "",
    "likeness",
    "its deviation",
    "largest",
    "learning's own",
    "ID(Prompt)",
    "its deviation",
    "largest",
    "learning's own",
)


def table(results: Mapping[str, Tensor]) -> str:
    """results: [people, seeds, 2, pictures] of each way."""
    lines: list[Sequence[str]] = [HEADINGS, ("---",) * len(HEADINGS)]
    for name, scores in results.items():
        cells = [ways()[name][0]]
        for score in scores.unbind(2):
            apart, by_chance = zip(*map(variances, score))
            own = max(0.0, mean(apart) - mean(by_chance))
            cells += [f"{score.mean():.3f}", *(f"{one**0.5:.3f}" for one in (mean(apart), max(apart), own))]
        lines.append(cells)
    return markdown(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=4)
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--ways", nargs="+", choices=ways(), default=list(ways()))
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("--page", type=Path, default=PAGE)
    args = parser.parse_args()
    bench = bench_of("luck", "release")
    rows = [(name, seed, number) for name in args.ways for number in range(args.people) for seed in range(args.seeds)]
    missing = [
        (f"{name} {seed}", number) for name, seed, number in rows if not bench.file(f"{name}-{seed}", number).exists()
    ]
    in_processes(args.processes, work, bench, missing)
    results = {
        name: torch.tensor(
            [
                [json.loads(bench.file(f"{name}-{seed}", number).read_text()) for seed in range(args.seeds)]
                for number in range(args.people)
            ]
        )
        for name in args.ways
    }
    pictures = next(iter(results.values())).shape[-1]
    introduction = INTRODUCTION.format(
        made=made(), people=args.people, seeds=args.seeds, pictures=PICTURES, all_pictures=pictures
    )
    text = f"{introduction}\n\n{table(results)}\n"
    print(text)
    args.page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
