"""Measure what was chosen of how a person is learned, beside what else there is.

    make bench-choices [ARGS="--only presets --people 6"]

Shares the people, prompts and scores of `make bench-quality`. Choices were made on people of the split `tuning`; what
README claims is shown on those of `release`. Takes two hours on 2 cores and writes docs/choices.md. A run that was
stopped goes on where it was.
"""

import argparse
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from tools import host_modules  # noqa: F401, isort: skip  (before comfy)

from bench.pages import made
from bench.quality import PACK, Bench, bench_of, in_processes, judge, models
from bench.results import FLOOR, Results, read
from bench.rivals import CAREFUL_RATE, PUBLISHED_RATE, RESOLUTION, TextualInversion
from bench.tried import cross_initialized
from bench.ways import Way, measure, table
from miniworld.measuring.subjects import subject
from persona_core.losses import MEAN, SUM
from persona_core.prompts import PHOTO_PROMPTS
from persona_core.recipes import (
    AUTO,
    BALANCED,
    KV_PRESETS,
    NAMES,
    PRESETS,
    RELATIVE,
    KVTokensRecipe,
    StageMapperRecipe,
)
from persona_core.task import TrainingSettings

PAGE = PACK / "docs/choices.md"
WORN = "worn"  # the floor of photos with hats and glasses
TUNING, RELEASE = "tuning", "release"
COMPARABLE = 200  # passes of Textual Inversion: as many as balanced has

INTRODUCTION = """# What was chosen of how to learn, measured in a small world

Written by `make bench-choices` ({made}). Prompts and scores as in [quality.md](quality.md); each person is learned once
in each way. Means over people ± standard error; in brackets the mean difference for the same person from the row named
in the heading, with its 95 % interval. *Lost*: below a likeness of 0.6. *Leak*: how much of the photo turns up unasked,
0 as with the plain word.

What is chosen is chosen on people of a split for that; the presets are shown on people whom no choice has seen. A pass
is one picture that goes forward and backward through the UNet once."""


@dataclass(frozen=True)
class Group:
    """One table. ways: its rows, by short names. against: that which the others are compared with. split: whose people
    are learned."""

    title: str
    ways: Mapping[str, Way]
    against: str
    split: str = TUNING

    @property
    def floor(self) -> str:
        return WORN if any(way.worn for way in self.ways.values()) else FLOOR


FULL = StageMapperRecipe(supercategory="person", resolution=RESOLUTION, learning=PRESETS[AUTO])
KV = KVTokensRecipe(
    supercategory="person",
    resolution=RESOLUTION,
    learning=KV_PRESETS[AUTO],
    prompts=PHOTO_PROMPTS,
    attention_weight=0.0,
)


def inversion(rate: float, passes: int) -> Way:
    settings = TrainingSettings(steps=passes // 2, learning_rate=rate)
    recipe = TextualInversion(supercategory="person", te_weight=0.0, resolution=RESOLUTION, learning=settings)
    return Way(f"Textual Inversion, rate {rate:g}", recipe, masked=False)


def attention() -> dict[str, Way]:
    """Equation 1 over four decades, summed up both ways, with the mask and without."""
    short = replace(KV, learning=replace(KV_PRESETS[BALANCED], steps=50))
    ways = {"no_attention": Way("without", short), "no_attention_photo": Way("without, no mask", short, masked=False)}
    for reduction, weights in ((MEAN, (0.003, 0.03, 0.3, 3.0, 30.0)), (SUM, (3e-5, 3e-4, 3e-3, 3e-2, 3e-1))):
        for weight in weights:
            recipe = replace(short, attention_weight=weight, attention_reduction=reduction)
            for masked in (True, False):
                title = f"{reduction}, {weight:g}{'' if masked else ', no mask'}"
                ways[f"{reduction}_{weight:g}{'' if masked else '_photo'}"] = Way(title, recipe, masked)
    return ways


def groups() -> dict[str, Group]:
    """All tables, by a short name."""
    presets = {name: Way(f"*{name}*", replace(FULL, learning=settings)) for name, settings in PRESETS.items()}
    kv = {f"kv_{name}": Way(f"*{name}*", replace(KV, learning=settings)) for name, settings in KV_PRESETS.items()}
    return {
        "presets": Group(
            f"Learn Persona's presets, {FULL.tokens} tokens",
            presets | {f"ti_{rate:g}": inversion(rate, COMPARABLE) for rate in (CAREFUL_RATE, PUBLISHED_RATE)},
            AUTO,
            RELEASE,
        ),
        "presets_one": Group(
            "Learn Persona's presets, one token",
            {
                f"one_{name}": Way(f"*{name}*", replace(FULL, tokens=1, learning=settings))
                for name, settings in PRESETS.items()
            }
            | {f"ti_{rate:g}": inversion(rate, COMPARABLE) for rate in (CAREFUL_RATE, PUBLISHED_RATE)},
            f"one_{AUTO}",
            RELEASE,
        ),
        "kv": Group("Face-Wise K/V Tokens' presets", kv, f"kv_{AUTO}", RELEASE),
        "tokens": Group(
            "How many tokens, with *auto*",
            {f"n{count}": Way(f"{count}", replace(FULL, tokens=count)) for count in (1, 2, 4)},
            f"n{FULL.tokens}",
        ),
        "attention": Group("The face-wise attention loss, K/V tokens of 200 passes", attention(), "no_attention"),
        "words": Group(
            "What keeps the other words what they are",
            {
                "nothing": Way("nothing", replace(FULL, te_weight=0.0)),
                "te_published": Way("Tandem Equilibrium, 0.001", replace(FULL, te_weight=1e-3)),
                "te": Way("Tandem Equilibrium, relative 0.3", replace(FULL, te_weight=0.3, weights=RELATIVE)),
                "core": Way("CoRe, relative 0.3", replace(FULL, te_weight=0.0, context_weight=0.3, weights=RELATIVE)),
                "preservation": Way(
                    "context preservation 0.5 in Apply",
                    replace(FULL, te_weight=0.0),
                    apply={"context_preservation": 0.5},
                ),
            },
            "nothing",
        ),
        "starts": Group(
            "Where tokens start",
            {
                "word": Way("the word", FULL),
                "names": Way("names", replace(FULL, start=NAMES)),
                "cross": Way("Cross Initialization, at the word's length", FULL, prepared=cross_initialized),
            },
            "word",
        ),
        "captions": Group(
            "A caption, for photos with hats and glasses",
            {
                "uncaptioned": Way("without", FULL, worn=True),
                "captioned": Way("with", FULL, worn=True, captioned=True),
            },
            "uncaptioned",
        ),
        "photos": Group(
            "Variants and the mirrored photo, K/V tokens",
            {
                "one": Way("the photo", KV),
                "variants": Way("variants", KV, augmented=True),
                "mirrored": Way("the photo and its mirror image", replace(KV, mirror=True)),
            },
            "one",
        ),
        "mirror": Group(
            "The mirrored photo, Learn Persona",
            {
                "alone": Way("the photo", FULL),
                "both": Way("the photo and its mirror image", replace(FULL, mirror=True)),
                "alone_one": Way("the photo, one token", replace(FULL, tokens=1)),
                "both_one": Way("the photo and its mirror image, one token", replace(FULL, tokens=1, mirror=True)),
            },
            "alone",
        ),
    }


def work(table_of: str, bench: Bench, name: str, number: int) -> str:
    group = groups()[table_of]
    if name in (FLOOR, WORN):
        somebody = subject(number, bench.split, worn=name == WORN)
        judge(bench, name, number, somebody, models()[1], "person")
    else:
        measure(bench, name, group.ways[name], number)
    return f"{name} {number}"


def page(results: Mapping[str, Results]) -> str:
    parts = [INTRODUCTION.format(made=made())]
    for name, group in groups().items():
        if name in results:
            against = f"In brackets the difference from *{group.ways[group.against].title.strip('*')}*."
            who = f"People of the split *{group.split}*. {against}"
            shown = table(results[name], group.ways, group.against, group.floor)
            parts.append(f"## {group.title}\n\n{who}\n\n{shown}")
    return "\n\n".join(parts) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=12)
    parser.add_argument("--first", type=int, default=0, help="the number of the first of them, where others were seen")
    parser.add_argument("--only", nargs="+", choices=groups(), default=list(groups()))
    parser.add_argument("--rows", nargs="+", help="only these of the tables; the others are shown as far as they are")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("--page", type=Path, default=PAGE, help="where the tables go")
    args = parser.parse_args()
    results = {}
    for name in args.only:
        group = groups()[name]
        bench = bench_of("choices", group.split)
        rows = [group.floor, *group.ways]
        wanted = [row for row in rows if not args.rows or row in (group.floor, *args.rows)]
        people = range(args.first, args.first + args.people)
        missing = ((row, number) for number in people for row in wanted)
        jobs = [(row, number) for row, number in missing if not bench.file(row, number).exists()]
        if jobs:
            in_processes(args.processes, partial(work, name), bench, jobs)
        found = read(bench.folder, rows)
        results[name] = {row: {one: found[row][one] for one in people if one in found[row]} for row in found}
        print(name, table(results[name], group.ways, group.against, group.floor), sep="\n")
    args.page.write_text(page(results), encoding="utf-8")


if __name__ == "__main__":
    main()
