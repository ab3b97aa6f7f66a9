"""Results of the quality measurement as a page: the table, the differences that matter, the contact sheets."""

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from math import sqrt
from pathlib import Path
from statistics import mean, stdev

import torch
from safetensors.torch import load_file
from scipy.stats import t as student

from .measuring import PROMPTS
from .sheet import sheet

FLOOR, CEILING, BASELINE = "plain", "named", "textual_inversion"
SHOWN = 4  # people on each contact sheet

INTRODUCTION = """# How well it works, measured in a small world

Written by `make bench-quality` ({made}). It says nothing about how good pictures of real checkpoints are: it says
whether the method does what it should, and what each of its parts is worth, where both can be measured.

The world is made of drawn faces, 32 pixels wide. A small diffusion model that knows 300 of its people by name runs
in ComfyUI. People whom it has never seen are learned from one drawing each and painted in the prompts below.
Everything was learned with {settings}.

- **ID similarity**: 0 = a stranger, 1 = the same person drawn again, told by an encoder that has seen drawings only.
  On drawings of strangers its cosine is {same_mean:.2f} ± {same_std:.2f} (standard deviation) for the same person and
  {other_mean:.2f} ± {other_std:.2f} for two people; equal error rate {equal_error_rate:.1%}.
- **From floor to ceiling**: the same, where 0 % is the plain prompt and 100 % a person whom the model knows by name.
- **Prompt accuracy**: the share of pictures that show all that was asked for, told by a reader that on drawings is
  right about the background in {background:.1%}, hat {hat:.1%}, glasses {glasses:.1%}, expression {expression:.1%}.
- **ID(Prompt)**: ID similarity, counted 0 where the prompt was missed. Beside it, the mean difference from Textual
  Inversion for the same person at the same number of UNet passes, with its 95 % interval.
- **Leak**: how much of the photo's background and of the face's place in it turns up unasked. 0 = as with the plain
  prompt, 1 = always.
- **Learning**: seconds on one CPU core, with another run on the other.

Means over people ± standard error.
{prompts}"""

SHEETS = """## The pictures

In each row the photo that was learned, then prompts 1 to 8, all with the same seed; of the first four people."""


@dataclass(frozen=True)
class Result:
    """One row's figures for one person: means over prompts and seeds. background, distance: see measuring.Scores.

    identity_if_obeyed: likeness, counted 0 where the prompt was missed: ID(Prompt) of Beyond Inserting.
    steps, seconds, size: of learning, and of the file in bytes; 0 where nothing is learned.
    """

    row: str
    person: int
    likeness: float
    obeyed: float
    identity_if_obeyed: float
    background: float
    distance: float
    steps: int = 0
    seconds: float = 0.0
    size: int = 0


Results = Mapping[str, dict[int, Result]]  # row -> person -> result


def read(folder: Path, known: Mapping[str, str]) -> Results:
    """The results in a folder, in the order of the rows; budgets ("full_50") after their row."""
    rows: dict[str, dict[int, Result]] = {}
    for file in sorted(folder.glob("*.json")):
        result = Result(**json.loads(file.read_text()))
        rows.setdefault(result.row, {})[result.person] = result
    order = list(known)

    def place(row: str) -> tuple[int, int]:
        name = row if row in known else row.rpartition("_")[0]
        return order.index(name), 0 if row in known else next(iter(rows[row].values())).steps

    return {row: rows[row] for row in sorted(rows, key=place)}


def leak(results: Results, row: str) -> list[float]:
    """How much of the photo's background and place is in pictures that were not asked for it, one value a person.

    The mean of two shares, each 0 where pictures are like those of the plain prompt and 1 where all have the
    photo's: of backgrounds, and of the squared distance to the photo's place.
    """
    floor = results[FLOOR]
    people = [person for person in results[row] if person in floor]
    chance, away = (mean(getattr(floor[person], key) for person in people) for key in ("background", "distance"))
    return [
        (
            (results[row][person].background - floor[person].background) / (1 - chance)
            + (floor[person].distance - results[row][person].distance) / away
        )
        / 2
        for person in people
    ]


def with_error(values: list[float], digits: int = 3) -> str:
    """Mean and standard error."""
    error = stdev(values) / sqrt(len(values)) if len(values) > 1 else float("nan")
    return f"{mean(values):.{digits}f} ± {error:.{digits}f}"


def difference(one: dict[int, Result], other: dict[int, Result], key: str) -> str:
    """Mean paired difference over people, with its 95 % interval."""
    values = [getattr(one[person], key) - getattr(other[person], key) for person in one if person in other]
    if len(values) < 2:
        return ""
    half = student.ppf(0.975, len(values) - 1) * stdev(values) / sqrt(len(values))
    return f"{mean(values):+.3f} ({mean(values) - half:+.3f} to {mean(values) + half:+.3f})"


def baseline_of(people: dict[int, Result], results: Results) -> dict[int, Result]:
    """Textual Inversion after as many steps as this row took; empty if it was not measured then."""
    steps = next(iter(people.values())).steps
    return next(
        (
            found for row, found in results.items()
            if row.startswith(BASELINE) and next(iter(found.values())).steps == steps
        ),
        {},
    )  # fmt: skip


def title(row: str, known: Mapping[str, str]) -> str:
    return known[row] if row in known else f"{known[row.rpartition('_')[0]]}, {row.rpartition('_')[2]} steps"


HEADINGS = (
    "", "ID similarity", "from floor to ceiling", "prompt accuracy", "ID(Prompt)",
    "ID(Prompt) against Textual Inversion", "leak", "learning, s", "file, KB", "people",
)  # fmt: skip


def table(results: Results, known: Mapping[str, str]) -> str:
    """The table as Markdown. The rows FLOOR and CEILING must be there."""
    floor, ceiling = (mean(result.likeness for result in results[row].values()) for row in (FLOOR, CEILING))
    lines = [HEADINGS, ["---"] * len(HEADINGS)]
    for row, people in results.items():
        found, learned = list(people.values()), row not in (FLOOR, CEILING)
        way = (mean(result.likeness for result in found) - floor) / (ceiling - floor)
        baseline = baseline_of(people, results) if learned and not row.startswith(BASELINE) else {}
        lines.append([
            title(row, known),
            with_error([result.likeness for result in found]),
            f"{way:.0%}",
            with_error([result.obeyed for result in found]),
            with_error([result.identity_if_obeyed for result in found]),
            difference(people, baseline, "identity_if_obeyed"),
            with_error(leak(results, row)) if learned else "",
            f"{mean(result.seconds for result in found):.0f}" if learned else "",
            f"{found[0].size / 1000:.1f}" if learned else "",
            str(len(found)),
        ])  # fmt: skip
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def write(
    page: Path, results: Results, known: Mapping[str, str], folder: Path, settings: str, figures: Mapping[str, float]
) -> None:
    """The page (Markdown) and, in a folder of its name beside it, a contact sheet for every row.

    folder: where the results' pictures lie. settings: how was learned and painted. figures: the instruments' own.
    """
    sheets = page.with_suffix("")
    prompts = "".join(f"\n{number}. {prompt.format('<ann>')}" for number, prompt in enumerate(PROMPTS, 1))
    introduction = INTRODUCTION.format(settings=settings, made=made(), prompts=prompts, **figures)
    parts = [introduction, table(results, known), SHEETS]
    for row, people in results.items():
        shown = [load_file(folder / f"{row}-{person:02}.safetensors")["shown"] for person in sorted(people)[:SHOWN]]
        sheet(torch.cat(shown) / 255, 1 + len(PROMPTS), sheets / f"{row}.png", enlarge=2)
        parts.append(f"### {title(row, known)}\n\n![{row}]({sheets.name}/{row}.png)")
    page.write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def made() -> str:
    """When, and by which state of the code."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    return f"{date.today()}, commit {commit or 'unknown'}"
