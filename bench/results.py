"""What was measured of each way to learn a person, and what is computed from it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from scipy.stats import t as student

from bench.pages import standard_error

FLOOR, CEILING, BASELINES = "plain", "named", ("textual_inversion", "careful_inversion")


@dataclass(frozen=True)
class Result:
    """One row's figures for one person: means over prompts and seeds.

    obeyed: of the prompts that ask for something. identity_if_obeyed: likeness, counted 0 where the prompt was missed:
    ID(Prompt) of Beyond Inserting. background, place: see measuring.Scores; photo_place: the photo's.
    passes: of the UNet while learning. seconds, size: of learning, and of the file in bytes. 0 if nothing is learned.
    """

    row: str
    person: int
    likeness: float
    obeyed: float
    identity_if_obeyed: float
    background: float
    place: tuple[float, float]
    photo_place: tuple[float, float]
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


def leak(results: Results, row: str) -> list[float]:
    """How much of the photo's background and place is in pictures that were not asked for it, one value a person.

    The mean of two shares: of backgrounds, 0 where pictures have the photo's as often as the plain prompt's do and 1
    where all have it; and of places, how far faces went towards the photo's place, measured from the mean place of
    photos. Of one person the latter says little; its mean over people is the slope of a regression.
    """
    floor = results[FLOOR]
    people = [person for person in results[row] if person in floor]
    chance = mean(floor[person].background for person in people)
    middle = [mean(floor[person].photo_place[axis] for person in people) for axis in (0, 1)]
    aims = {person: [floor[person].photo_place[axis] - middle[axis] for axis in (0, 1)] for person in people}
    spread = mean(x * x + y * y for x, y in aims.values())
    shares = []
    for person in people:
        one, plain = results[row][person], floor[person]
        background = (one.background - plain.background) / (1 - chance)
        moved = [one.place[axis] - plain.place[axis] for axis in (0, 1)]
        place = sum(aim * way for aim, way in zip(aims[person], moved)) / spread
        shares.append((background + place) / 2)
    return shares


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
    """Mean paired difference over people, and half of its 95 % interval. NaN for fewer than two people."""
    values = [getattr(one[person], key) - getattr(other[person], key) for person in one if person in other]
    if len(values) < 2:
        return float("nan"), float("nan")
    return mean(values), student.ppf(0.975, len(values) - 1) * standard_error(values)
