"""Measure Learn Persona's presets, and what was tried to learn sooner: what each costs and gives.

    make bench-presets [ARGS="--people 4"]

After `make bench-quality`, whose people, prompts and scores it shares, and the published recipe's row. Takes about ten
minutes on 2 cores and writes docs/presets.md. A run that was stopped goes on where it was.
"""

import argparse
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean

from tools import host_modules  # noqa: F401, isort: skip  (before comfy)

import torch

from bench import rivals, tried
from bench.pages import made, markdown
from bench.quality import (
    PACK,
    PLACEHOLDER,
    Bench,
    bench_of,
    file_size,
    in_processes,
    judge,
    learned,
    models,
    photo_of,
    table_bench,
)
from bench.quality_page import scores
from bench.results import Results, read
from bench.rivals import RESOLUTION
from miniworld.measuring.subjects import subject
from persona_core.host.apply.encoding import apply_to_clip
from persona_core.recipes import PRESETS, Recipe, StageMapperRecipe
from persona_core.table import AppliedPersona
from persona_core.task import TrainingSettings

PAGE = PACK / "docs/presets.md"
PUBLISHED_ROW = f"full_{rivals.PUBLISHED}"  # of quality.md
PUBLISHED, QUICK, BALANCED = "published", "quick", "balanced"

INTRODUCTION = """# What ways to learn sooner cost and give, measured in a small world

Written by `make bench-presets` ({made}). People, prompts and scores as in [quality.md](quality.md); {people} people,
each learned once in each way. Means over people ± standard error; in brackets the mean difference for the same person
from *{against}*, with its 95 % interval.

A pass is one picture that goes forward and backward through the UNet once; the published recipe has two of them a step.
Its row is that of quality.md. Seconds are those of learning on one CPU core."""


@dataclass(frozen=True)
class Way:
    """One row. title: of it."""

    title: str
    recipe: Recipe


def persona_magic(settings: TrainingSettings) -> StageMapperRecipe:
    """settings: as the node has them."""
    return StageMapperRecipe(supercategory="person", resolution=RESOLUTION, learning=settings)


def presets() -> dict[str, Way]:
    return {name: Way(f"*{name}*", persona_magic(settings)) for name, settings in PRESETS.items()}


def trials() -> dict[str, Way]:
    """Each is *quick* with one thing changed."""
    quick = PRESETS[QUICK]
    return {
        "faster": Way("twice the learning rate", persona_magic(replace(quick, learning_rate=2 * quick.learning_rate))),
        "cold": Way("no warm-up", persona_magic(replace(quick, warmup=0))),
        "cross": Way("Cross Initialization", tried.cross_initialized(persona_magic(quick))),
    }


def ways() -> dict[str, Way]:
    """All rows, by a short name."""
    return presets() | trials()


def work(bench: Bench, name: str, number: int) -> str:
    """Learn one person in one way and paint them, in a process of its own."""
    torch.set_num_threads(1)
    recipe, person = ways()[name].recipe, subject(number, bench.split)
    steps, batch = recipe.learning.steps, recipe.learning.batch_size
    ((_, seconds, persona),) = learned(recipe, [photo_of(person)], (steps,))
    clip = apply_to_clip(models()[1], AppliedPersona(persona), PLACEHOLDER)
    facts = {"passes": steps * batch, "seconds": seconds, "size": file_size(persona)}
    judge(bench, name, number, person, clip, PLACEHOLDER, **facts)
    return f"{name} {number}"


def table(results: Results, rows: Mapping[str, Way], against: str) -> str:
    """Rows as Markdown. against: the row that differences are taken from."""
    head = "", "steps", "passes", "seconds", "ID similarity", "prompt accuracy", "ID(Prompt)"
    lines, reference = [head, ("---",) * len(head)], results[against]
    for name, way in rows.items():
        people = results[name]
        cells = scores(people, None if name == against else reference)
        passes, seconds = (mean(getattr(result, key) for result in people.values()) for key in ("passes", "seconds"))
        rows_of_step = way.recipe.learning.batch_size
        steps = f"{passes / rows_of_step:.0f} x {rows_of_step}"
        lines.append((way.title, steps, f"{passes:.0f}", f"{seconds:.1f}", *cells))
    return markdown(lines)


def page(results: Results) -> str:
    quick = presets()[QUICK]
    parts = [
        INTRODUCTION.format(made=made(), people=len(results[BALANCED]), against=PUBLISHED),
        f"## Presets\n\n{table(results, presets(), PUBLISHED)}",
        f"## *{QUICK}* with one thing changed\n\nIn brackets the difference from *{QUICK}*.\n\n"
        f"{table(results, {QUICK: quick, **trials()}, QUICK)}",
    ]
    return "\n\n".join(parts) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=24)
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("--page", type=Path, default=PAGE, help="where the tables go")
    args = parser.parse_args()
    bench, published = bench_of("presets"), read(table_bench().folder, [PUBLISHED_ROW])
    if not published:
        parser.error("The published recipe's row is missing: run make bench-quality first.")
    rows = [name for name in ways() if name != PUBLISHED]
    jobs = [(name, number) for number in range(args.people) for name in rows if not bench.file(name, number).exists()]
    in_processes(args.processes, work, bench, jobs)
    text = page(read(bench.folder, rows) | {PUBLISHED: published[PUBLISHED_ROW]})
    print(text)
    args.page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
