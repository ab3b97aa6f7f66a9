"""Measure PersonaMagic in the flow painter, a transformer of Z-Image's kind, beside the UNet painter: the same people,
prompts and judges.

    make bench-flow [ARGS="--people 12"]

Takes half an hour on 2 cores and writes docs/flow.md. A run that was stopped goes on where it was.
"""

import argparse
import os
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from statistics import mean

from tools import host_modules  # noqa: F401, isort: skip  (before comfy)

import torch

from bench import learning, quality
from bench.choices import FULL
from bench.learning import file_size
from bench.pages import made, markdown, with_error
from bench.quality import GUIDANCE, PACK, PLACEHOLDER, STEPS, Bench, bench_of, in_processes, judge, photo_of
from bench.results import CEILING, FLOOR, NAMED, Results, read
from miniworld import flow_checkpoint
from miniworld.measuring.asking import prompts_for
from miniworld.measuring.subjects import named_subject, names, subject
from persona_core.host.apply.encoding import apply_to_clip
from persona_core.host.model import default_stages
from persona_core.recipes import BALANCED, PRESETS
from persona_core.table import AppliedPersona

PAGE = PACK / "docs/flow.md"
FIRST = 228  # of the split's people: nobody before was ever looked at when the flow painter was made
PAINTERS = {"unet": "the UNet painter", "flow": "the flow painter"}
WAYS = {
    FLOOR: "plain prompt (floor)",
    CEILING: "a person whom the painter knows by a name (ceiling)",
    "balanced": "Learn Persona, *balanced*",
    "auto": "Learn Persona, *auto*",
}

INTRODUCTION = """# In a flow-matching transformer, measured in a small world

Written by `make bench-flow` ({made}). It says nothing about how good pictures of real checkpoints are. The flow painter
is a transformer of ComfyUI's NextDiT class, as Z-Image is, with a text encoder of Qwen3's class; both learned from the
UNet painter to say what that says, so it knows what that knows, less exactly ([miniworld](../miniworld/README.md)).
{people} people of the split *release* on whom nothing was chosen, each learned from one photo in either painter, with
Learn Persona's own settings (4 tokens; the papers' stage is t 400 to 800 in the UNet and, where there is as much noise,
t 538 to 836 in the flow). {prompts} prompts and scores as in [quality.md](quality.md),
one picture each; Euler, {steps} steps, guidance {guidance:g}."""
FIGURES = {"likeness": "likeness", "obeyed": "obeyed", "ID(Prompt)": "identity_if_obeyed"}


@cache
def painter(name: str) -> tuple:
    """MODEL, CLIP, VAE."""
    return quality.models() if name == "unet" else flow_checkpoint.load()


def work(bench: Bench, row: str, number: int) -> str:
    """One painter, way and person, in a process of its own."""
    torch.set_num_threads(1)
    name, way = row.split("-")
    models, number = painter(name), number + FIRST
    if way == CEILING:
        called = names(*NAMED[CEILING])[number - FIRST]
        judge(bench, row, number, named_subject(called), models[1], called, painter=models)
        return f"{row} {number}"
    somebody = subject(number, bench.split)
    if way == FLOOR:
        judge(bench, row, number, somebody, models[1], "person", painter=models)
        return f"{row} {number}"
    recipe = replace(FULL, learning=PRESETS[BALANCED]) if way == BALANCED else FULL
    recipe = replace(recipe, stages=default_stages(models[0]))
    with tempfile.TemporaryDirectory() as folder:
        unfinished = Path(folder) / "unfinished"
        ((steps, seconds, persona),) = learning.learned(
            models, recipe, [photo_of(somebody)], (recipe.learning.steps,), unfinished
        )
    clip = apply_to_clip(models[1], AppliedPersona(persona), PLACEHOLDER)
    facts = {"passes": steps * recipe.learning.batch_size, "seconds": seconds, "size": file_size(persona)}
    judge(bench, row, number, somebody, clip, PLACEHOLDER, painter=models, **facts)
    return f"{row} {number}"


HEADINGS = ("", "", *FIGURES, "of the way from floor to ceiling", "passes")


def table(results: Results) -> str:
    lines: list[Sequence[str]] = [HEADINGS, ("---",) * len(HEADINGS)]
    for name, title in PAINTERS.items():
        for way, called in WAYS.items():
            found = results[f"{name}-{way}"].values()
            figures = [[getattr(one, figure) for one in found] for figure in FIGURES.values()]
            passes = f"{mean(one.passes for one in found):.0f}" if way in ("auto", "balanced") else ""
            lines.append((title, called, *map(with_error, figures), share(results, name, way), passes))
            title = ""
    return markdown(lines)


def share(results: Results, name: str, way: str) -> str:
    """How far likeness came from the plain prompt's to a known person's."""
    floor, ceiling, found = (
        mean(one.likeness for one in results[f"{name}-{row}"].values()) for row in (FLOOR, CEILING, way)
    )
    return "" if way in (FLOOR, CEILING) else f"{(found - floor) / (ceiling - floor):.0%}"


def apart(results: Results) -> str:
    """The same person in both painters."""
    lines = []
    for way in ("balanced", "auto"):
        flow, unet = (results[f"{name}-{way}"] for name in ("flow", "unet"))
        each = [
            f"{called} {with_error([getattr(flow[number], one) - getattr(unet[number], one) for number in flow])}"
            for called, one in FIGURES.items()
        ]
        lines.append(f"- *{way}*, flow less UNet, the same people: {', '.join(each)}.")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=24)
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("--page", type=Path, default=PAGE)
    args = parser.parse_args()
    bench = bench_of("flow", "release")
    rows = [f"{name}-{way}" for name in PAINTERS for way in WAYS]
    jobs = [(row, number) for number in range(args.people) for row in rows]
    missing = [(row, number) for row, number in jobs if not bench.file(row, number + FIRST).exists()]
    in_processes(args.processes, work, bench, missing)
    results = read(bench.folder, rows)
    introduction = INTRODUCTION.format(
        made=made(), people=args.people, prompts=len(prompts_for()), steps=STEPS, guidance=GUIDANCE
    )
    args.page.write_text(f"{introduction}\n\n{table(results)}\n\n{apart(results)}\n")
    print(table(results), apart(results), sep="\n\n")


if __name__ == "__main__":
    main()
