"""All that was measured as one object, which the page is made of and which can be sent: no photo, no picture, no name,
no path."""

import json
import sys
from collections.abc import Mapping, Sequence
from statistics import mean

import torch
from comfyui_version import __version__ as host_version

from bench.pages import commit
from bench.paper.measure import Bench
from bench.stopwatch import machine

FORMAT = "bench-paper/1"
FIGURES = "prompt", "id", "detect", "id_prompt"
ALL = "all"


def means(pictures: Sequence[Mapping]) -> dict[str, float | None]:
    """Of pictures' figures; None for what was measured of none."""
    known = {name: [one[name] for one in pictures if one[name] is not None] for name in FIGURES}
    return {name: mean(values) if values else None for name, values in known.items()}


def summary(measured: Mapping) -> dict:
    """A row of one person with one sampler: means over the pictures, all of them and by the prompt's kind."""
    pictures = measured["pictures"]
    kinds = dict.fromkeys(one["kind"] for one in pictures)
    by_kind = {kind: means([one for one in pictures if one["kind"] == kind]) for kind in kinds}
    told = {name: measured[name] for name in ("row", "person", "sampler", "learning")}
    return {**told, "means": {ALL: means(pictures), **by_kind}}


def gather(bench: Bench, settings: Mapping[str, object], with_names: bool) -> dict:
    """What is measured so far of a bench's rows and people."""
    world = bench.world
    files = (
        bench.file(row, number, sampler)
        for row in bench.rows
        for number in range(len(world.names))
        for sampler in world.samplers
    )
    people = [{"number": number, **facts} for number, facts in enumerate(world.facts)]
    if with_names:
        people = [{**one, "name": name} for one, name in zip(people, world.names)]
    return {
        "format": FORMAT,
        "world": dict(world.about),
        "made by": {
            "ComfyUI": host_version,
            "Python": ".".join(map(str, sys.version_info[:3])),
            "torch": torch.__version__,
            "machine": machine(),
            "commit": commit(),
        },
        "settings": {
            **settings,
            "supercategory": world.supercategory,
            "resolution": world.resolution,
            "pictures of each prompt": bench.seeds,
            "samplers": {name: vars(sampler) for name, sampler in world.samplers.items()},
            "prompts": [vars(prompt) for prompt in world.prompts],
        },
        "notes": list(world.notes),
        "people": people,
        "rows": {name: row.title for name, row in bench.rows.items()},
        "results": [summary(json.loads(file.read_text())) for file in files if file.exists()],
    }
