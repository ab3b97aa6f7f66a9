"""Measure what the sliders of Apply do: likeness against obedience over each one's range.

    make bench-sliders [ARGS="--people 4"]

All of it takes twenty minutes on 2 cores and writes docs/sliders.md. People, prompts and scores are those of
quality.py, and as there a run which was stopped goes on where it was.
"""

import argparse
import os
from pathlib import Path

from tools import host_modules  # noqa: F401, isort: skip  (before comfy)

import torch
from safetensors.torch import load_file

from bench.learning import file_size
from bench.pages import made, markdown
from bench.quality import (
    PACK,
    PLACEHOLDER,
    Bench,
    bench_of,
    in_processes,
    judge,
    learned,
    models,
    photo_of,
)
from bench.quality_page import SHOWN, scores
from bench.results import Results, read
from bench.rivals import USUAL
from miniworld.measuring.asking import prompts_for
from miniworld.measuring.subjects import subject
from miniworld.sheet import sheet
from persona_core.host.apply.encoding import apply_to_clip
from persona_core.table import AppliedPersona

PAGE = PACK / "docs/sliders.md"
KINDS = {"full": "PersonaMagic, N = 4", "kv": "K/V tokens, 5 pairs"}  # of quality.py's rows
SLIDERS = {
    "strength": (0.5,),
    "key_locking": (0.5,),
    "context_preservation": (0.5,),
    "start_at": (0.4,),
}
AS_LEARNED = "as learned"

INTRODUCTION = """# What the sliders of Apply do, measured in a small world

Written by `make bench-sliders` ({made}). {people} people, prompts and scores as in [quality.md](quality.md); each was
learned once, in {passes} passes, and painted with one slider at a time. Means over people ± standard error; in brackets
the mean difference for the same person from what was learned, with its 95 % interval."""

SHEETS = """## The pictures

With each slider at its end: the photo, then the prompts of quality.md; the first four people."""


def uses() -> dict[str, dict[str, float]]:
    """Settings of AppliedPersona by a short name."""
    return {AS_LEARNED: {}} | {
        f"{slider} {value:g}": {slider: value} for slider, values in SLIDERS.items() for value in values
    }


def row_of(kind: str, use: str) -> str:
    return f"{kind}-{use.replace(' ', '-')}"


def work(bench: Bench, kind: str, number: int) -> str:
    """Learn one person in one way and paint them with every slider, in a process of its own."""
    torch.set_num_threads(1)
    rival, person = bench.rivals[kind], subject(number, bench.split)
    photo = photo_of(person)
    batch = rival.recipe.learning.batch_size
    ((steps, seconds, persona),) = learned(rival.recipe, [photo], (USUAL // batch,))
    facts = {"passes": steps * batch, "seconds": seconds, "size": file_size(persona)}
    for name, use in uses().items():
        clip = apply_to_clip(models()[1], AppliedPersona(persona, **use), PLACEHOLDER)
        judge(bench, row_of(kind, name), number, person, clip, PLACEHOLDER, **facts)
    return f"{kind} {number}"


def table(results: Results, kind: str) -> str:
    """One way's curves as Markdown."""
    lines = [("", "ID similarity", "prompt accuracy", "ID(Prompt)")]
    lines.append(("---",) * 4)
    learned_as = results[row_of(kind, AS_LEARNED)]
    for use in uses():
        people = results[row_of(kind, use)]
        cells = scores(people, None if use == AS_LEARNED else learned_as)
        lines.append((use, *cells))
    return markdown(lines)


def write(page: Path, results: Results, folder: Path) -> None:
    """The page, and beside it a contact sheet for each slider's end."""
    sheets = page.with_suffix("")
    people = len(results[row_of("full", AS_LEARNED)])
    parts = [INTRODUCTION.format(made=made(), people=people, passes=USUAL)]
    parts += [f"## {title}\n\n{table(results, kind)}" for kind, title in KINDS.items()]
    parts.append(SHEETS)
    for kind, title in KINDS.items():
        for slider, values in SLIDERS.items():
            use = f"{slider} {values[-1]:g}"
            row = row_of(kind, use)
            shown = [load_file(folder / f"{row}-{number:02}.safetensors")["shown"] for number in range(SHOWN)]
            sheet(torch.cat(shown) / 255, 1 + len(prompts_for()), sheets / f"{kind}_{slider}.jpg", enlarge=1)
            parts.append(f"### {title}: {use}\n\n![{use}]({sheets.name}/{kind}_{slider}.jpg)")
    page.write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=24, help=f"at least {SHOWN}")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("--page", type=Path, default=PAGE, help="where the tables and their sheets go")
    args = parser.parse_args()
    bench = bench_of("sliders")
    jobs = [
        (kind, number)
        for number in range(args.people)
        for kind in KINDS
        if not all(bench.file(row_of(kind, use), number).exists() for use in uses())
    ]
    in_processes(args.processes, work, bench, jobs)
    results = read(bench.folder, [row_of(kind, use) for kind in KINDS for use in uses()])
    for kind in KINDS:
        print(table(results, kind))
    write(args.page, results, bench.folder)


if __name__ == "__main__":
    main()
