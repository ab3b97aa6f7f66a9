"""Measure several people learned in one pass beside one at a time: personas an hour, memory, how far apart they are.

    make bench-together [ARGS="--people 8 --repeats 2"]

Of the made-up world's people in its painter, and of SD1.5's own shapes with random weights, which say how long it takes
and nothing else. On a GPU, where there is one. Takes a quarter of an hour on 2 cores and writes docs/together.md.
"""

import argparse
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median

from bench.speed import host  # isort: skip  (before the host's modules)

import torch

from bench import stopwatch
from bench.choices import FULL
from bench.pages import made, markdown
from bench.quality import PACK, models, photo_of
from bench.stopwatch import GIGABYTE, by_turns, forget_peak, peak_memory, ratios, spread
from miniworld.measuring.subjects import subject
from persona_core.host.learn.run import TrainingJob, Wanted, train_personas
from persona_core.persona import Persona
from persona_core.photos import Photo
from persona_core.recipes import AUTO, BALANCED, PRESETS, StageMapperRecipe
from tools import random_checkpoint

PAGE = PACK / "docs/together.md"
DEVICES, NOT = ("CPU", "GPU"), "not measured"
AN_HOUR = "personas an hour"
MEASURED = "rows a second", "faster than one at a time", "memory, GB"
FIRST = 260  # of the people of the split "release"
INTRODUCTION = """# Several people in one pass

Written by `make bench-together` ({made}), on {machine}.

The checkpoint is frozen, and each row of a batch is computed by itself: rows of one pass may be of different people,
each with a representation and an optimizer of its own. `persona learn --at-once N` learns so many; whoever is done
makes room for the next. *Apart*: how far what was learned is from what the same person is alone, the largest of all, as
a share of how far it moved. *Memory*: the most that the process had while it learned. A ratio is of each round, then
their median (the least and the greatest)."""


@dataclass(frozen=True)
class Trial:
    """What is timed: the same jobs, so many at once. sizes: how many. whole: whether each learns all that it would."""

    title: str
    jobs: Sequence[TrainingJob]
    sizes: Sequence[int]
    whole: bool = True

    def learn(self, at_once: int, found: dict[str, Persona] | None = None) -> float:
        """Seconds, of all."""
        with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
            wanted = [Wanted(job, job.name, Path(folder) / job.name) for job in self.jobs]
            keep = found if found is not None else {}

            def done(one: Wanted, persona: Persona | Exception) -> None:
                if isinstance(persona, Exception):
                    raise persona
                keep[one.job.name] = persona

            return stopwatch.seconds(lambda: train_personas(wanted, at_once, done))


def world(people: int, preset: str, sizes: Sequence[int]) -> Trial:
    recipe = replace(FULL, learning=PRESETS[preset])
    each = (subject(FIRST + number, "release") for number in range(people))
    jobs = [TrainingJob(f"p{n}", *models(), [photo_of(one)], recipe) for n, one in enumerate(each)]
    return Trial(f"The made-up world, preset *{preset}*, {people} people", jobs, sizes)


def shapes(folder: Path, people: int, size: int, sizes: Sequence[int], architecture: str) -> Trial:
    """Random pictures, which cost as much as people's."""
    loaded = host.load(random_checkpoint.build(folder / "random.ckpt", architecture))
    learning = replace(PRESETS[BALANCED], steps=2, batch_size=2)
    recipe = StageMapperRecipe(resolution=size, learning=learning)
    chance = torch.Generator().manual_seed(0)
    photos = [Photo(torch.rand(size, size, 3, generator=chance), torch.ones(size, size)) for _ in range(people)]
    jobs = [TrainingJob(f"p{number}", *loaded, [photo], recipe) for number, photo in enumerate(photos)]
    what = "SD1.5's shapes" if architecture == "full" else "smaller shapes than SD1.5's: a trial"
    title = f"{what}, random weights, {host.precision_of(loaded[0])}, {size} pixels, steps of 2 rows"
    return Trial(title, jobs, sizes, whole=False)


def apart(alone: dict[str, Persona], beside: dict[str, Persona]) -> float:
    """The largest of all people, over the timesteps."""
    most = 0.0
    for name, persona in alone.items():
        stages = persona.representation.stages
        t = torch.linspace(stages.t_lo, stages.t_hi, 21)
        one, other = (each.representation.at(t) for each in (persona, beside[name]))
        moved = (one.keys - persona.representation.initializers).norm()
        most = max(most, float((one.keys - other.keys).norm() / moved))
        if one.bypass is not None:
            most = max(most, float((one.bypass - other.bypass).norm() / one.bypass.norm()))
    return most


def measure(trial: Trial, repeats: int) -> str:
    """A section of the page."""
    personas: dict[int, dict[str, Persona]] = {size: {} for size in trial.sizes}
    peaks: dict[int, list[int]] = {size: [] for size in trial.sizes}

    def run(size: int) -> float:
        forget_peak()
        took = trial.learn(size, personas[size])
        peaks[size].append(peak_memory())
        return took

    runs: dict[str, Callable[[], float]] = {str(size): partial(run, size) for size in trial.sizes}
    times = by_turns(runs, repeats, warm_up=[str(trial.sizes[0])])
    alone, count = times[str(trial.sizes[0])], len(trial.jobs)
    rows = sum(one.steps * int(one.settings["batch size"]) for one in personas[trial.sizes[0]].values())
    measured = (AN_HOUR, *MEASURED) if trial.whole else MEASURED
    lines = [["at once", "apart", *(f"{device}: {name}" for device in DEVICES for name in measured)]]
    lines.append(["---"] * len(lines[0]))
    for size in trial.sizes:
        took, first = times[str(size)], size == trial.sizes[0]
        here = [
            *([spread([3600 * count / one for one in took], "#.4g")] if trial.whole else []),
            f"{rows / median(took):.3g}",
            "1" if first else f"{spread(ratios(alone, took))} times",
            f"{max(peaks[size]) / GIGABYTE:.2f}",
        ]
        cells = [cell for device in DEVICES for cell in (here if device == DEVICES[host.GPU] else [NOT] * len(here))]
        lines.append([str(size), "" if first else f"{apart(personas[trial.sizes[0]], personas[size]):.1e}", *cells])
    passes = f"{rows / count:.0f} rows through the UNet for each, on average; {repeats} rounds."
    return f"## {trial.title}\n\n{passes}\n\n{markdown(lines)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--preset", default=AUTO)
    parser.add_argument("--size", type=int, default=512 if host.GPU else 256)
    parser.add_argument("--at-once", type=int, nargs="+", default=[1, 2, 4, 8, 16] if host.GPU else [1, 2, 4, 8])
    parser.add_argument("--architecture", choices=("full", "small"), default="full", help="small: to try the script")
    parser.add_argument("--page", type=Path, default=PAGE)
    args = parser.parse_args()
    stopwatch.restart_with_keeping_malloc()
    sections = [INTRODUCTION.format(made=made(), machine=stopwatch.machine())]
    with tempfile.TemporaryDirectory() as folder:
        of_shapes = partial(shapes, Path(folder), args.people, args.size, args.at_once, args.architecture)
        for trial in (partial(world, args.people, args.preset, args.at_once), of_shapes):
            sections.append(measure(trial(), args.repeats))
            print(sections[-1], flush=True)
    args.page.write_text("\n\n".join(sections) + "\n")


if __name__ == "__main__":
    main()
