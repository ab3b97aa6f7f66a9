"""Tables as Markdown, and the page that holds them."""

import argparse
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bench.pages import made, markdown

INTRODUCTION = """# How fast it is

Written by `make bench-speed` ({made}).

- **Machine**: {machine}.
- **Weights**: random ones of the shapes of `{architecture}` in `tools/random_checkpoint.py`{shapes}, or as a table
  says. Time and memory do not depend on what weights are.
- **Size**: {size}x{size} pixels, where nothing else is said.
- **Figures**: the median of {repeats} rounds after a warm-up, and in brackets the least and the greatest. What is
  compared runs by turns; a ratio is computed in each round, and then its median."""
ON_A_CPU = """ Beside other trainers and in
  sampling, not every run is warmed up.
- **malloc** is told to keep what was freed (`MALLOC_MMAP_MAX_=0`, `MALLOC_TRIM_THRESHOLD_=1000000000000`), for all
  columns alike, but not where memory is measured."""


@dataclass(frozen=True)
class Table:
    """legend: what the columns mean, in a sentence or two."""

    title: str
    legend: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]

    def markdown(self) -> str:
        lines = [self.headings, ["---"] * len(self.headings), *self.rows]
        return f"## {self.title}\n\n{self.legend}\n\n{markdown(lines)}"


def introduction(options: argparse.Namespace, machine: str, gpu: bool) -> str:
    shapes = ", which are SD1.5's own" if options.architecture == "full" else ", smaller than SD1.5: a trial"
    told = {"architecture": options.architecture, "shapes": shapes, "size": options.size, "repeats": options.repeats}
    return INTRODUCTION.format(made=made(), machine=machine, **told) + ("" if gpu else ON_A_CPU)


def page(introduction: str, tables: Iterable[Table]) -> str:
    return "\n\n".join([introduction, *(table.markdown() for table in tables)]) + "\n"
