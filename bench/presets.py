"""Measure Learn Persona's presets, and what was tried to learn sooner with both nodes: what each costs and gives.

    make bench-presets [ARGS="--people 4"]

All of it takes about an hour on 2 cores and writes docs/presets.md. People, prompts and scores are those
of quality.py, and as there a run which was stopped goes on where it was.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean

from tools import host_modules  # noqa: F401, isort: skip  (before comfy)

import torch

from bench import tried
from bench.pages import made, markdown
from bench.quality import (
    PACK,
    PLACEHOLDER,
    Bench,
    bench_of,
    file_size,
    in_processes,
    judge,
    models,
    photo_of,
)
from bench.quality_page import scores
from bench.results import Results, read
from bench.rivals import RESOLUTION, kv_recipe
from bench.tried import Trial
from miniworld.measuring.subjects import subject
from persona_core.host.apply.encoding import apply_to_clip
from persona_core.host.learn.run import TrainingJob, load_progress, train_persona
from persona_core.recipes import PRESETS, Recipe, StageMapperRecipe
from persona_core.table import AppliedPersona
from persona_core.task import TrainingSettings

PAGE = PACK / "docs/presets.md"
TOKENS = (4,)
KV_LEARNING = TrainingSettings(steps=50, learning_rate=5e-3, batch_size=4, weight_decay=0.0)
TRIED = {4: None}  # which trials with how many tokens; None: all
PUBLISHED, QUICK, BALANCED = "published", "quick", "balanced"

INTRODUCTION = """# What ways to learn sooner cost and give, measured in a small world

Written by `make bench-presets` ({made}). People, prompts and scores as in [quality.md](quality.md); {people} people,
each learned once in each way. Means over people ± standard error; in brackets the mean difference for the same person
from *{against}*, with its 95 % interval.

A pass is one picture that goes forward and backward through the UNet once; the published recipe has two of them a step.
Not among the passes is where a loss is held out: 8 pictures, forward only, at every 10th step. Seconds are those of
learning on one CPU core."""


MULTIPLICITY = """## Noise multiplicity

An example is a photo, a prompt and a timestep. Where the pictures of a step go in pairs that are one example under two
noises, there is half as much text to read: K/V tokens learn so with four pictures a step or more, Learn Persona does
not. In brackets the difference from steps in which each picture is an example."""


@dataclass(frozen=True)
class Way:
    """One row. title: of it."""

    title: str
    recipe: Recipe
    trial: Callable[[Recipe], Trial] = tried.plain


def persona_magic(settings: TrainingSettings, tokens: int) -> Recipe:
    """settings: as the node has them."""
    return StageMapperRecipe(supercategory="person", resolution=RESOLUTION, tokens=tokens, learning=settings)


def row(name: str, number: int) -> str:
    """A short name for what is done with so many tokens."""
    return f"{name}-{number}"


def presets(tokens: int) -> dict[str, Way]:
    """And the published recipe, stopped early."""
    ways = {row(name, tokens): Way(name, persona_magic(settings, tokens)) for name, settings in PRESETS.items()}
    stopped = f"{PUBLISHED}, stopped where a held-out loss is flat"
    return ways | {row("stopped", tokens): Way(stopped, ways[row(PUBLISHED, tokens)].recipe, tried.until_flat)}


def trials(tokens: int) -> dict[str, Way]:
    """Each is *quick* with one thing changed."""
    quick = PRESETS[QUICK]

    def way(title: str, trial: Callable[[Recipe], Trial] = tried.plain, **changes: object) -> Way:
        return Way(title, persona_magic(replace(quick, **changes), tokens), trial)

    def steps_of(rows: int) -> Way:
        steps, warmup = (count * quick.batch_size // rows for count in (quick.steps, quick.warmup))
        return way(f"{steps} steps of {rows}", steps=steps, warmup=warmup, batch_size=rows)

    every = {
        "slower": way("half the learning rate", learning_rate=quick.learning_rate / 2),
        "faster": way("twice the learning rate", learning_rate=quick.learning_rate * 2),
        "cold": way("no warm-up", warmup=0),
        "steady": way("a rate that does not fall", decay=False),
        "averaged": way("a rate that does not fall, mean of the last half", tried.averaged, decay=False),
        "fewer_rows": steps_of(1),
        "more_rows": steps_of(4),
        "spread": way("timesteps spread over the stage", tried.spread),
        "by_loss": way("timesteps where the loss is large, spread over it", tried.by_loss),
        "rich": way("a rich prompt for each picture", tried.rich_for_each),
        "close": way("a loss that keeps the tokens close to the word", tried.kept_close),
        "cross": way("Cross Initialization", tried.cross_initialized),
        "cross_close": way("Cross Initialization, kept close", tried.cross_initialized_and_kept_close),
    }
    return {row(name, tokens): every[name] for name in TRIED[tokens] or every}


def in_pairs() -> dict[str, tuple[str, Recipe]]:
    """What is learned with four pictures a step, by a short name: a title and the recipe."""
    balanced = {
        row(BALANCED, tokens): (f"*{BALANCED}*, {told(tokens)}", persona_magic(PRESETS[BALANCED], tokens))
        for tokens in TOKENS
    }
    return balanced | {"kv": ("K/V tokens", kv_recipe(learning=KV_LEARNING))}


def multiplicities(name: str, recipe: Recipe) -> dict[str, Way]:
    """One picture an example, two, and what was tried with two."""
    return {
        f"{name}-apart": Way("each picture is an example", recipe, tried.apart),
        f"{name}-paired": Way("pairs are", recipe, tried.paired),
        f"{name}-opposite": Way("pairs are, and their noises are opposite", recipe, tried.opposite),
    }


def ways() -> dict[str, Way]:
    """All rows, by a short name."""
    pairs = (multiplicities(name, recipe) for name, (_, recipe) in in_pairs().items())
    groups = [*map(presets, TOKENS), *map(trials, TRIED), *pairs]
    return {name: way for group in groups for name, way in group.items()}


def work(bench: Bench, name: str, number: int) -> str:
    """Learn one person in one way and paint them, in a process of its own."""
    torch.set_num_threads(1)
    way, person = ways()[name], subject(number, bench.split)
    photo = photo_of(person)
    trial = way.trial(way.recipe)
    with tempfile.TemporaryDirectory() as folder, trial.changes():
        job, unfinished = TrainingJob("ann", *models(), [photo], trial.recipe), Path(folder) / "unfinished"
        began = time.monotonic()
        try:
            persona = train_persona(job, "presets", unfinished, trial.on_step)
        except tried.Flat:
            steps = load_progress(unfinished, "presets").step
            job = replace(job, recipe=with_steps(trial.recipe, steps))
            persona = train_persona(job, "presets", unfinished, tried.NOTHING)  # as far as it was
        seconds = time.monotonic() - began
    clip = apply_to_clip(models()[1], AppliedPersona(persona), PLACEHOLDER)
    passes = job.recipe.learning.steps * way.recipe.learning.batch_size
    facts = {"passes": passes, "seconds": seconds, "size": file_size(persona)}
    judge(bench, name, number, person, clip, PLACEHOLDER, **facts)
    return f"{name} {number}"


def with_steps(recipe: Recipe, steps: int) -> Recipe:
    return replace(recipe, learning=replace(recipe.learning, steps=steps))


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


def told(tokens: int) -> str:
    return f"{tokens} token{'s' * (tokens > 1)}"


def page(results: Results) -> str:
    people = len(results[row(PUBLISHED, TOKENS[0])])
    parts = [
        INTRODUCTION.format(made=made(), people=people, against=PUBLISHED),
    ]
    for tokens in TOKENS:
        parts.append(f"## Presets, {told(tokens)}\n\n{table(results, presets(tokens), row(PUBLISHED, tokens))}")
    for tokens in TRIED:
        quick = row(QUICK, tokens)
        parts.append(
            f"## *{QUICK}* with one thing changed, {told(tokens)}\n\nIn brackets the difference from *{QUICK}*.\n\n"
            f"{table(results, {quick: presets(tokens)[quick], **trials(tokens)}, quick)}"
        )
    parts.append(MULTIPLICITY)
    for name, (title, recipe) in in_pairs().items():
        rows = multiplicities(name, recipe)
        parts.append(f"### {title}\n\n{table(results, rows, next(iter(rows)))}")
    return "\n\n".join(parts) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=24)
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("--page", type=Path, default=PAGE, help="where the tables go")
    args = parser.parse_args()
    bench = bench_of("presets")
    jobs = [(name, number) for number in range(args.people) for name in ways() if not bench.file(name, number).exists()]
    in_processes(args.processes, work, bench, jobs)
    text = page(read(bench.folder, list(ways())))
    print(text)
    args.page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
