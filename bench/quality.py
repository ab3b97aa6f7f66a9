"""Measure likeness and obedience: learn people and cats that nobody has seen in every way to be compared, paint them,
score the pictures.

    make bench-quality [ARGS=--small]

All of it takes an hour and a half on 2 cores and writes docs/quality.md; --small takes minutes and only prints. One
process a core. Each result is a file of its own, so that a run which was stopped goes on where it was.
"""

import argparse
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from functools import cache
from multiprocessing import get_context
from pathlib import Path

from tools import host_modules  # noqa: F401, isort: skip  (before comfy)

import torch
from einops import rearrange
from safetensors.torch import save_file
from torch import Tensor

from bench import learning, quality_page
from bench.learning import file_size
from bench.results import NAMED, UNLEARNED, Result, floor_of, read
from bench.rivals import LONG, PUBLISHED, USUAL, Rival, rivals
from miniworld import checkpoint, vae
from miniworld.measuring import instruments
from miniworld.measuring.asking import prompts_for, said
from miniworld.measuring.scoring import Examiner
from miniworld.measuring.subjects import Subject, named_subject, names, subject
from miniworld.painting import sample_each
from persona_core.files import write_whole
from persona_core.host.apply.encoding import apply_to_clip
from persona_core.host.learn.denoiser import cpu_has_bf16
from persona_core.persona import Persona
from persona_core.photos import Photo
from persona_core.recipes import Recipe
from persona_core.table import AppliedPersona

HERE = Path(__file__).parent
PACK = HERE.parent
RESULTS, PAGE = PACK / ".comfyui/quality", PACK / "docs/quality.md"
PLACEHOLDER = "<ann>"
SEEDS = 1  # pictures of each prompt
STEPS, GUIDANCE = 10, 5.0  # of the sampler
PASSES = (100, USUAL, LONG, PUBLISHED)  # after which rows that learn long are tried out
SMALL = ("textual_inversion", "careful_inversion", "full")


@dataclass(frozen=True)
class Bench:
    """Where results go, of which split they are, and after how many passes personas are tried out."""

    folder: Path
    split: str = "table"
    passes: tuple[int, ...] = PASSES

    @property
    def rivals(self) -> dict[str, Rival]:
        return rivals(self.passes)

    @property
    def titles(self) -> dict[str, str]:
        """Of every row, in the table's order."""
        titles = dict(UNLEARNED)
        for name, rival in self.rivals.items():
            for row, passes in rival.rows(name).items():
                titles[row] = rival.title if row == name else f"{rival.title}, {passes} passes"
        return titles

    def file(self, row: str, number: int) -> Path:
        return self.folder / f"{row}-{number:02}.json"

    def missing(self, name: str, number: int) -> bool:
        """Whether one of the rows that this rival gives for this person is still to be measured."""
        rows = self.rivals[name].rows(name) if name in self.rivals else [name]
        return not all(self.file(row, number).exists() for row in rows)


@cache
def models() -> tuple:
    return checkpoint.load()


@cache
def examiner() -> Examiner:
    return Examiner()


@torch.inference_mode()
def paint(clip, prompts: Sequence[str], seed: int, painter: tuple | None = None) -> Tensor:
    """Every prompt with SEEDS seeds from this one on: pictures [prompts * SEEDS, 3, 128, 128]. painter: its models, if
    it is not the UNet painter."""
    model, _, decoder = painter or models()
    encoded = [clip.encode_from_tokens_scheduled(clip.tokenize(prompt)) for prompt in prompts]
    each, seeds = zip(*((positive, seed + one) for positive in encoded for one in range(SEEDS)))
    with torch.autocast("cpu", torch.bfloat16, enabled=cpu_has_bf16()):  # elsewhere it is 45 times slower than fp32
        return sample_each(model, clip, decoder, each, seeds, STEPS, GUIDANCE)


def judge(
    bench: Bench, row: str, number: int, somebody: Subject, clip, word: str, painter: tuple | None = None, **facts
) -> None:
    """Paint somebody, score the pictures, write the figures and the first picture of each prompt down."""
    prompts = prompts_for(somebody.kind)
    pictures = paint(clip, [said(prompt, word) for prompt in prompts], SEEDS * number, painter)
    asked = [want for want in prompts.values() for _ in range(SEEDS)]
    scores = examiner().score(pictures, asked, somebody)
    asking = torch.tensor([bool(want) for want in asked])
    result = Result(
        row=row,
        person=number,
        likeness=scores.likeness.mean().item(),
        obeyed=scores.obeyed[asking].float().mean().item(),
        identity_if_obeyed=(scores.likeness * scores.obeyed).mean().item(),
        leaks={kind: leak.nanmean().item() for kind, leak in scores.leaks.items()},
        **facts,
    )
    shown = torch.cat([somebody.photo[None], pictures[::SEEDS]])
    file = bench.file(row, number)
    save_file({"shown": shown.mul(255).round().byte()}, file.with_suffix(".safetensors"))
    write_whole(file, json.dumps(asdict(result)).encode())


def photo_of(somebody: Subject, masked: bool = True) -> Photo:
    """masked: whether the loss is to look at the subject only."""
    mask = somebody.mask if masked else torch.ones_like(somebody.mask)
    return Photo(rearrange(somebody.photo, "c h w -> h w c"), mask)


def learn_and_judge(bench: Bench, name: str, number: int) -> None:
    """Learn somebody, and try the persona out after each of the numbers of passes that the rival asks for."""
    rival = bench.rivals[name]
    somebody = subject(number, bench.split, rival.kind)
    photo = photo_of(somebody, rival.masked)
    began = time.monotonic()
    stages, looked = rival.stages(models(), photo)
    looking = time.monotonic() - began
    recipe = replace(rival.recipe, stages=stages) if rival.looked_up else rival.recipe
    rows, batch = rival.rows(name), recipe.learning.batch_size
    after = tuple(passes // batch for passes in rows.values())
    for row, (steps, seconds, persona) in zip(rows, learned(recipe, [photo], after)):
        clip = apply_to_clip(models()[1], AppliedPersona(persona), PLACEHOLDER)
        facts = {"passes": looked + steps * batch, "seconds": looking + seconds, "size": file_size(persona)}
        judge(bench, row, number, somebody, clip, PLACEHOLDER, **facts)


def learned(recipe: Recipe, photos: Sequence[Photo], after: tuple[int, ...]) -> Iterator[tuple[int, float, Persona]]:
    """As `learning.learned`, with the painter, from the beginning."""
    with tempfile.TemporaryDirectory() as folder:
        yield from learning.learned(models(), recipe, photos, after, Path(folder) / "unfinished")


def work(bench: Bench, name: str, number: int) -> str:
    """One row and one person or cat, in a process of its own."""
    torch.set_num_threads(1)
    if name in NAMED:
        words, kind = NAMED[name]
        called = names(words, kind)[number]
        judge(bench, name, number, named_subject(called), models()[1], called)
    elif name in UNLEARNED:
        kind = next(kind for kind in ("person", "cat") if floor_of(kind) == name)
        judge(bench, name, number, subject(number, bench.split, kind), models()[1], kind)
    else:
        learn_and_judge(bench, name, number)
    return f"{name} {number}"


def settings() -> str:
    """How everything was learned and painted, for the page."""
    return (
        f"at the published recipes' rates, which stay as they are; {len(prompts_for())} prompts, "
        f"{SEEDS} picture{'s' * (SEEDS > 1)} each; Euler, {STEPS} steps, guidance {GUIDANCE:g}"
    )


def made_with(measurement: str, *more: object) -> str:
    """A name for all that results depend on: those of other code, weights or settings are no results of these."""
    measuring = (HERE / f"{name}.py" for name in {measurement, "learning", "quality", "rivals"})
    world = [*PACK.glob("miniworld/measuring/*.py"), PACK / "miniworld/splits.py"]
    code = [*PACK.glob("persona_core/**/*.py"), *world, *measuring]
    digest = hashlib.sha256(repr(more).encode())
    for file in (checkpoint.FILE, vae.FILE, instruments.FILE, *sorted(code)):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


def table_bench(split: str = "table", passes: tuple[int, ...] = PASSES) -> Bench:
    """Where the table's results are kept, or those of other people, or of fewer passes."""
    bench = Bench(RESULTS / made_with("quality", split, passes), split, passes)
    bench.folder.mkdir(parents=True, exist_ok=True)
    return bench


def bench_of(measurement: str, split: str = "table") -> Bench:
    """Where another measurement keeps its results of a split's people."""
    bench = Bench(RESULTS / f"{measurement}-{made_with(measurement, split)}", split)
    bench.folder.mkdir(parents=True, exist_ok=True)
    return bench


def in_processes(
    processes: int, work: Callable[[Bench, str, int], str], bench: Bench, jobs: Sequence[tuple[str, int]]
) -> None:
    """Do all jobs, a name and a person each, and tell how far it is."""
    began = time.monotonic()
    with ProcessPoolExecutor(processes, get_context("fork")) as pool:
        running = [pool.submit(work, bench, *job) for job in jobs]
        for done, future in enumerate(as_completed(running), 1):
            left = (time.monotonic() - began) * (len(jobs) - done) / done / 60
            print(f"{done}/{len(jobs)}  {future.result()}  {left:.0f} min left", flush=True)


def main() -> None:
    bench = Bench(RESULTS)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=24)
    parser.add_argument("--rows", nargs="+", choices=bench.rivals, default=list(bench.rivals), help="beside the floor")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("--page", type=Path, default=PAGE, help="where the table and its sheets go")
    parser.add_argument(
        "--split",
        choices=("tuning", "table", "release"),
        default="table",
        help="only the table, with all its passes, has a page",
    )
    parser.add_argument("--passes", type=int, nargs="+", default=PASSES, help="after which personas are tried out")
    parser.add_argument("--small", action="store_true", help=f"three people, only {', '.join(SMALL)}; no page")
    args = parser.parse_args()
    if args.small:
        args.people, args.rows, args.passes = 3, SMALL, PASSES[:2]
    bench = table_bench(args.split, tuple(args.passes))
    names_of_rows = [*UNLEARNED, *args.rows]
    jobs = [(name, number) for number in range(args.people) for name in names_of_rows if bench.missing(name, number)]
    in_processes(args.processes, work, bench, jobs)
    results = read(bench.folder, list(bench.titles))
    print(quality_page.table(results, bench.titles))
    if args.split == "table" and bench.passes == PASSES:
        quality_page.write(args.page, results, bench.titles, bench.folder, settings(), examiner().figures)


if __name__ == "__main__":
    main()
