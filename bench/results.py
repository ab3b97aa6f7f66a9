"""What was measured of each way to learn a person, and what is computed from it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from scipy.stats import t as student

from bench.pages import standard_error

FLOOR, CEILING, BASELINES = "plain", "named", ("textual_inversion", "careful_inversion")
# Rows of somebody whom the painter knows by name: how many words it has, and the kind of being.
NAMED = {CEILING: (1, "person"), "named_two": (2, "person"), "named_cat": (1, "cat")}
UNLEARNED = {
    FLOOR: "plain prompt (floor)",
    CEILING: "a person whom the painter knows by a name of one token (ceiling)",
    "named_two": "and by a name of two",
    "plain_cat": "a cat, plain prompt",
    "named_cat": "a cat whom the painter knows by name",
}
OUT_OF_REACH = 0.6  # a likeness below which somebody else is seen


def floor_of(kind: str) -> str:
    """The row of the plain prompt for a kind of being."""
    return FLOOR if kind == "person" else f"{FLOOR}_{kind}"


@dataclass(frozen=True)
class Result:
    """One row's figures for one subject: means over prompts and seeds.

    obeyed: of the prompts that ask for something. identity_if_obeyed: likeness, counted 0 where the prompt was missed:
    ID(Prompt) of Beyond Inserting. leaks: by kind, the share of pictures that have what the photo has, where the prompt
    leaves that open. passes: of the UNet while learning. seconds, size: of learning, and of the file in bytes. 0 if
    nothing is learned.
    """

    row: str
    person: int
    likeness: float
    obeyed: float
    identity_if_obeyed: float
    leaks: Mapping[str, float]
    passes: int = 0
    seconds: float = 0.0
    size: int = 0


People = Mapping[int, Result]
Results = Mapping[str, People]  # by row, then by person


def read(folder: Path, order: list[str]) -> Results:
    """The results in a folder, in an order of rows; those that are not in it are left out."""
    rows: dict[str, dict[int, Result]] = {}
    for file in sorted(folder.glob("*.json")):
        result = Result(**json.loads(file.read_text()))
        rows.setdefault(result.row, {})[result.person] = result
    return {row: rows[row] for row in order if row in rows}


def leaks(results: Results, row: str, floor: str = FLOOR) -> dict[str, list[float]]:
    """How much of the photo is in pictures that were not asked for it: by kind, one value a person.

    0 where pictures have what the photo has as often as the plain prompt's do, 1 where all have it.
    """
    plain = results[floor]
    found: dict[str, list[float]] = {}
    for kind in dict.fromkeys(kind for result in plain.values() for kind in result.leaks):
        people = [one for one in results[row] if one in plain and kind in plain[one].leaks]
        if not people:
            continue
        chance = mean(plain[person].leaks[kind] for person in people)
        found[kind] = [
            (results[row][person].leaks[kind] - plain[person].leaks[kind]) / (1 - chance) for person in people
        ]
    return found


def lost(people: People, likeness: float = OUT_OF_REACH) -> float:
    """The share of people who stay below a likeness."""
    return mean(result.likeness < likeness for result in people.values())


def out_of_reach(results: Results, rows: Sequence[str], likeness: float = OUT_OF_REACH) -> list[int]:
    """The people who stay below a likeness in each of these rows."""
    everyone = set.intersection(*(set(results[row]) for row in rows))
    return sorted(one for one in everyone if all(results[row][one].likeness < likeness for row in rows))


def baseline_of(row: str, baseline: str, results: Results) -> str | None:
    """The row of one of the BASELINES that took as many passes as this row."""
    passes = next(iter(results[row].values())).passes
    as_many = (
        name for name, people in results.items()
        if name.startswith(baseline) and next(iter(people.values())).passes == passes
    )  # fmt: skip
    return next(as_many, None)


def mean_of(people: People, key: str) -> float:
    return mean(getattr(result, key) for result in people.values())


def difference(one: People, other: People, key: str) -> tuple[float, float]:
    """Mean paired difference over people, and half of its 95 % interval, see `interval`."""
    return interval([getattr(one[person], key) - getattr(other[person], key) for person in one if person in other])


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Their mean, and half of its 95 % interval. NaN for fewer than two."""
    if len(values) < 2:
        return float("nan"), float("nan")
    return mean(values), student.ppf(0.975, len(values) - 1) * standard_error(values)
