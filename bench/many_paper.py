"""What a million people would take, by formulas: from what is measured here and what is assumed of machines."""

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import psutil

from bench.pages import markdown
from persona_core.command.plan import Plan
from persona_core.command.results import LEARNED, Result, Results
from persona_core.command.rows import Row
from persona_core.command.with_ray import learn_with_ray

# Assumed, not measured: nobody who works on this pack has had a GPU at hand.
PEOPLE, GPUS = 1_000_000, 100
TFLOP = 0.80  # of SD1.5's UNet, forward at 512 x 512: torch's FlopCounterMode on `full`
STEP = 2.3  # a step of learning against a forward pass: docs/speed.md
USED = 0.3  # of a GPU's peak
PEAKS = {"L4": 121, "A100": 312, "H100": 989}  # TFLOP/s in bf16, without sparsity: NVIDIA's data sheets
PASSES = {"balanced": 200, "auto, a signal of 0.12": 1000}  # of a persona: recipes.PRESETS, docs/budget.md
CHECKPOINT, DISK = 2.1, 1.0  # GB of SD1.5 in fp16; GB/s of a disk that all share
# Bytes of an SD1.5 persona: docs/files.md.
SIZES = {"with the mapper, 4 tokens": 2.6e6, "small, 4 tokens": 7.6e4, "small, one token": 1.9e4}
GETS = 5500  # a second and prefix, by S3's documentation
TEXT = """**Measured here** (2 cores, no GPU):

{measured}

**Assumed, not measured**, and to be set at the top of `bench/many_paper.py`: {people:,} people, {gpus} GPUs, SD1.5 at
512 x 512, {used:.0%} of a GPU's peak, a pass of {tflop} TFLOP forward and {step} times that with the way back, one
person at a time. Seconds a person = passes x {tflop} x {step} / (peak x {used}) + getting ready; hours = people x
seconds / GPUs / 3600.

{hours}

{storage}

Where it would jam, with {gpus} H100 at {fewest} passes, which ask most of the rest:

{jams}

So: several people a batch (`--at-once`), tables of some 100,000 rows, each with a folder of its own, and models on the
workers' own disks."""


@dataclass(frozen=True)
class Quick(Plan):
    """Learns nothing, at once: what is left is what handing out and taking in costs."""

    def learner(self) -> "Quick":
        return self

    @property
    def wave(self) -> int:
        """A batch."""
        return self.at_once

    def learn(self, rows: Sequence[Row]) -> list[Result]:
        return [
            Result(row.id, LEARNED, f"/personas/{row.id}.safetensors", "0" * 32, 0.3, 50, 200, 20.0) for row in rows
        ]


def rate(at_once: int, batches: int) -> tuple[float, float]:
    """Batches a second that the command hands out and takes in, the start taken off; KB of its memory a batch."""
    took = []
    for count in (2, batches):
        rows = [Row(f"person-{number}", (f"s3://photos/{number}.jpg",)) for number in range(count * at_once)]
        plan, before, began = replace(Quick("personas"), at_once=at_once), resident(), time.monotonic()
        for number, _ in enumerate(learn_with_ray(plan, rows, workers=(2, 2)), 1):
            if number == len(rows):
                grown = resident() - before
        took.append(time.monotonic() - began)
    return (batches - 2) / (took[1] - took[0]), grown / 1e3 / batches


def resident() -> int:
    return psutil.Process().memory_info().rss


def results_rate(lines: int) -> tuple[float, float]:
    """Lines of results a second, each safe on the disk; seconds to tidy a table of a million lines."""
    with tempfile.TemporaryDirectory() as folder:
        results = Results(Path(folder) / "results.csv")
        [one] = Quick("").learn([Row("person")])
        began = time.monotonic()
        for number in range(lines):
            results.add(replace(one, id=f"person-{number}"))
        added = time.monotonic() - began
        began = time.monotonic()
        results.settle()
        return lines / added, (time.monotonic() - began) / lines * PEOPLE


def seconds_to_get_ready(folder: Path, checkpoint: Path) -> float:
    """From a photo of 512 x 512 to what is learned from, with the face found, on one core."""
    learner = Plan(str(folder / "ready"), checkpoint=str(checkpoint), comfyui_options=("--cpu",)).learner()
    took = []
    for number in range(4):
        row = Row(f"p{number}", (str(folder / "face.png"),), settings={"train_seed": number})
        began = time.monotonic()
        learner.prepare(row).claim.give_back()
        took.append(time.monotonic() - began)
    return min(took)


def seconds(peak: float, passes: int, ready: float) -> float:
    return passes * TFLOP * STEP / (peak * USED) + ready


def paper(folder: Path, checkpoint: Path, size: float) -> str:
    """The page's part on a million people. size: bytes of a file of the cluster's run."""
    (one, memory), (many, more), (lines, tidied) = rate(1, 2500), rate(16, 800), results_rate(3000)
    ready = seconds_to_get_ready(folder, checkpoint)
    measured = (
        ("", ""), ("---", "---"),
        ("batches that the command hands out and takes in, one person each", f"{one:.0f} a second"),
        ("of 16 people each, as with `--at-once 4`", f"{many:.0f} a second, {16 * many:,.0f} people"),
        ("its memory", f"{memory:.0f} KB a batch of one, {more:.0f} KB of 16"),
        ("lines of results, each safe on the disk", f"{lines:,.0f} a second"),
        ("to tidy a table of a million lines of results, at the start", f"{tidied:.0f} s"),
        ("getting one person ready: reading, the face, cropping; also to find them there", f"{ready:.2f} s of a core"),
        ("a file of the run above (one token)", f"{size / 1e3:,.0f} KB"),
    )  # fmt: skip
    hours = [("GPU", *(f"{name}: {passes} passes" for name, passes in PASSES.items())), ("---",) * (1 + len(PASSES))]
    for name, peak in PEAKS.items():
        took = (seconds(peak, passes, ready) for passes in PASSES.values())
        cells = (f"{one:.1f} s a person, {PEOPLE * one / GPUS / 3600:,.1f} h" for one in took)
        hours.append((name, *cells))
    stored = [("a file", "size", f"{PEOPLE:,} people"), ("---",) * 3]
    stored += [(name, f"{one / 1e3:,.0f} KB", f"{PEOPLE * one / 1e9:,.0f} GB") for name, one in SIZES.items()]
    fewest = min(PASSES.values())
    need = GPUS / seconds(PEAKS["H100"], fewest, ready)
    share = ready / seconds(PEAKS["H100"], fewest, ready)
    whole, parts = PEOPLE * memory / 1e6, PEOPLE / 16 * more / 1e6
    loaded = GPUS * CHECKPOINT
    jams = (
        ("what", "asked for", "there is"), ("---",) * 3,
        ("handing out and taking in", f"{need:.0f} people a second", f"{one:.0f} batches a second"),
        ("the command's memory", f"{whole:.1f} GB with one person a batch, {parts:.1f} GB with 16", "the head's"),
        ("the table of results", f"{need:.0f} lines a second", f"{lines:,.0f}"),
        ("getting ready, on the CPU", f"{share:.0%} of the time", "two workers a GPU hide most of it"),
        ("to run it again when all are there", f"{PEOPLE * ready / 3600:.0f} hours of a core", "all cores"),
        ("photos from an object store", f"{need:.0f} GET a second", f"{GETS:,} (S3, a prefix)"),
        ("all workers load the models at once", f"{loaded:.0f} GB", f"{loaded / DISK:.0f} s from one disk for all"),
        ("files in one folder", f"{PEOPLE:,}, and as many locks made and removed", "not measured"),
    )  # fmt: skip
    given = {"people": PEOPLE, "gpus": GPUS, "used": USED, "tflop": TFLOP, "step": STEP, "fewest": fewest}
    tables = {"measured": measured, "hours": hours, "storage": stored, "jams": jams}
    return TEXT.format(**given, **{name: markdown(table) for name, table in tables.items()})
