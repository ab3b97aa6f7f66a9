"""Measure likeness and obedience: learn held-out people in every way to be compared, paint them, score the pictures.

    make bench-quality [ARGS=--small]

All of it takes about two and a half hours on 2 cores and writes docs/quality.md; --small takes minutes and only
prints. One process a core. Each result is a file of its own, so that a run which was stopped goes on where it was.
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

from bench import quality_page
from bench.results import CEILING, FLOOR, Result, read
from bench.rivals import Rival, StaticVector, rivals
from miniworld import model, workflow
from miniworld.measuring import EYE, HELD_OUT, PROMPTS, TUNING, Examiner, Sitter, named_sitter, sitter
from miniworld.painting import sample
from persona_core.files import write_whole
from persona_core.host.apply.encoding import apply_to_clip
from persona_core.host.learn.run import TrainingJob, train_persona
from persona_core.persona import Persona
from persona_core.photos import Photo, augmented
from persona_core.recipes import Recipe
from persona_core.table import AppliedPersona
from persona_core.task import TrainingSettings

HERE = Path(__file__).parent
PACK = HERE.parent
RESULTS, PAGE = PACK / ".comfyui/quality", PACK / "docs/quality.md"
PLACEHOLDER = "<ann>"
SEEDS = 4  # pictures of each prompt
STEPS, GUIDANCE = 10, 3.0  # of the sampler
BUDGETS = (50, 100, 200, 400, 1000)
LEARN = workflow.SETTINGS["PersonaLearn"]
SETTINGS = TrainingSettings(LEARN["steps"], LEARN["learning_rate"], LEARN["batch_size"])
UNLEARNED = {FLOOR: "plain prompt (floor)", CEILING: "a person whom the painter knows by name (ceiling)"}
SMALL = ("textual_inversion", "careful_inversion", "full")


@dataclass(frozen=True)
class Bench:
    """Where results go, whom they are of, and after how many steps personas are tried out."""

    folder: Path
    seed: int = HELD_OUT
    budgets: tuple[int, ...] = BUDGETS

    @property
    def rivals(self) -> dict[str, Rival]:
        return rivals(SETTINGS, LEARN["te_weight"], self.budgets)

    @property
    def titles(self) -> dict[str, str]:
        """Of every row, in the table's order."""
        titles = dict(UNLEARNED)
        for name, rival in self.rivals.items():
            for row, steps in rival.rows(name).items():
                titles[row] = rival.title if row == name else f"{rival.title}, {steps} steps"
        return titles

    def file(self, row: str, number: int) -> Path:
        return self.folder / f"{row}-{number:02}.json"

    def missing(self, name: str, number: int) -> bool:
        """Whether one of the rows that this rival gives for this person is still to be measured."""
        rows = self.rivals[name].rows(name) if name in self.rivals else [name]
        return not all(self.file(row, number).exists() for row in rows)


@cache
def models() -> tuple:
    return model.load(model.PAINTER)


@cache
def examiner() -> Examiner:
    return Examiner()


@torch.inference_mode()
def paint(clip, word: str, seed: int) -> Tensor:
    """Every prompt with SEEDS seeds from this one on: pictures [prompts * SEEDS, 3, 32, 32]."""
    painter, _, vae = models()
    encoded = (clip.encode_from_tokens_scheduled(clip.tokenize(prompt.replace("{}", word))) for prompt in PROMPTS)
    # Two thirds of the time; pictures differ by 0.002 of white on average.
    with torch.autocast("cpu", torch.bfloat16):
        pictures = [sample(painter, clip, vae, positive, SEEDS, seed, STEPS, GUIDANCE) for positive in encoded]
    return torch.cat(pictures)


def judge(bench: Bench, row: str, number: int, person: Sitter, clip, word: str, **facts) -> None:
    """Paint somebody, score the pictures, write the figures and the first picture of each prompt down."""
    pictures = paint(clip, word, SEEDS * number)
    asked = [want for want in PROMPTS.values() for _ in range(SEEDS)]
    scores = examiner().score(pictures, asked, person)
    asking = torch.tensor([bool(want) for want in asked])
    result = Result(
        row=row,
        person=number,
        likeness=scores.likeness.mean().item(),
        obeyed=scores.obeyed[asking].float().mean().item(),
        identity_if_obeyed=(scores.likeness * scores.obeyed).mean().item(),
        background=scores.background.nanmean().item(),
        place=tuple(scores.place.mean(0).tolist()),
        photo_place=tuple(person.scene.pose[0, :2].tolist()),
        **facts,
    )
    shown = torch.cat([person.photo[None], pictures[::SEEDS]])
    file = bench.file(row, number)
    save_file({"shown": shown.mul(255).round().byte()}, file.with_suffix(".safetensors"))
    write_whole(file, json.dumps(asdict(result)).encode())


def photo_of(person: Sitter) -> Photo:
    return Photo(rearrange(person.photo, "c h w -> h w c"), person.mask)


def learn_and_judge(bench: Bench, name: str, number: int) -> None:
    """Learn one person, and try the persona out after each of the steps that the rival asks for."""
    rival, person = bench.rivals[name], sitter(number, bench.seed)
    photo = photo_of(person)
    if not rival.masked:
        photo = replace(photo, mask=torch.ones_like(photo.mask))
    photos = augmented([photo], rival.recipe.learning.seed) if rival.augmented else [photo]
    began = time.monotonic()
    stages, looked = rival.stages(models(), photo)
    looking = time.monotonic() - began
    recipe = replace(rival.recipe, stages=stages)
    rows = rival.rows(name)
    for row, (steps, seconds, persona) in zip(rows, learned(recipe, photos, tuple(rows.values()))):
        clip = apply_to_clip(models()[1], AppliedPersona(persona), PLACEHOLDER)
        facts = {"passes": looked + steps, "seconds": looking + seconds, "size": file_size(persona)}
        judge(bench, row, number, person, clip, PLACEHOLDER, **facts)


def learned(recipe: Recipe, photos: Sequence[Photo], after: tuple[int, ...]) -> Iterator[tuple[int, float, Persona]]:
    """The persona after each of these steps of one run, with the seconds that learning took until then."""
    seconds = 0.0
    with tempfile.TemporaryDirectory() as folder:
        for steps in after:
            longer = replace(recipe, learning=replace(recipe.learning, steps=steps))
            asked = TrainingJob("ann", *models(), photos, longer)
            began = time.monotonic()
            # Goes on where the file says the last one ended.
            persona = train_persona(asked, "quality", Path(folder) / "unfinished", lambda progress: None)
            seconds += time.monotonic() - began
            yield steps, seconds, persona


def file_size(persona: Persona) -> int:
    """Bytes on disk; of Textual Inversion, which the pack has no file for, the vector's."""
    if isinstance(persona.representation, StaticVector):
        return 2 * persona.representation.vector.numel()
    return len(persona.to_bytes())


def work(bench: Bench, name: str, number: int) -> str:
    """One rival and one person, in a process of its own."""
    torch.set_num_threads(1)
    if name == FLOOR:
        judge(bench, name, number, sitter(number, bench.seed), models()[1], workflow.WORD)
    elif name == CEILING:
        word, person = named_sitter(number)
        judge(bench, name, number, person, models()[1], word)
    else:
        learn_and_judge(bench, name, number)
    return f"{name} {number}"


def settings() -> str:
    """How everything was learned and painted, for the page."""
    return (
        f"{SETTINGS.steps} steps of {SETTINGS.batch_size} pictures, learning rate {SETTINGS.learning_rate:g} and TE "
        f"weight {LEARN['te_weight']:g}, where the row does not say otherwise; {len(PROMPTS)} prompts, {SEEDS} seeds "
        f"each; Euler, {STEPS} steps, guidance {GUIDANCE:g}"
    )


def made_with(*more: object) -> str:
    """A name for all that results depend on: those of other code, weights or settings are no results of these."""
    world = (file for file in HERE.glob("*.py") if not ("page" in file.name or file.name.startswith("test_")))
    code = [*PACK.glob("persona_core/**/*.py"), *world]
    digest = hashlib.sha256(repr(more).encode())
    for file in (model.PAINTER, EYE, *sorted(code)):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


def bench_of(measurement: str) -> Bench:
    """Where another measurement keeps its results of the same people."""
    bench = Bench(RESULTS)
    bench = replace(bench, folder=RESULTS / f"{measurement}-{made_with(bench.seed)}")
    bench.folder.mkdir(parents=True, exist_ok=True)
    return bench


def in_processes(
    processes: int, work: Callable[[Bench, str, int], str], bench: Bench, jobs: Sequence[tuple[str, int]]
) -> None:
    """Do all jobs, a name and a person each, and tell how far it is."""
    began = time.monotonic()
    # Forked, because a spawned process would not find `tests`: ComfyUI has a package of that name.
    with ProcessPoolExecutor(processes, get_context("fork")) as pool:
        running = [pool.submit(work, bench, *job) for job in jobs]
        for done, future in enumerate(as_completed(running), 1):
            left = (time.monotonic() - began) * (len(jobs) - done) / done / 60
            print(f"{done}/{len(jobs)}  {future.result()}  {left:.0f} min left", flush=True)


def main() -> None:
    bench = Bench(RESULTS)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=16)
    parser.add_argument("--rows", nargs="+", choices=bench.rivals, default=list(bench.rivals), help="beside the floor")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("--page", type=Path, default=PAGE, help="where the table and its sheets go")
    parser.add_argument("--tuning", action="store_true", help="other people, to choose settings by; no page")
    parser.add_argument("--small", action="store_true", help=f"four people, only {', '.join(SMALL)}; no page")
    args = parser.parse_args()
    if args.small:
        args.people, args.rows = 4, SMALL
    bench = Bench(RESULTS, TUNING if args.tuning else HELD_OUT, () if args.small else BUDGETS)
    bench = replace(bench, folder=RESULTS / made_with(bench.seed, bench.budgets))
    bench.folder.mkdir(parents=True, exist_ok=True)
    names = [*UNLEARNED, *args.rows]
    jobs = [(name, number) for number in range(args.people) for name in names if bench.missing(name, number)]
    in_processes(args.processes, work, bench, jobs)
    results = read(bench.folder, list(bench.titles))
    print(quality_page.table(results, bench.titles))
    if not (args.small or args.tuning):
        quality_page.write(args.page, results, bench.titles, bench.folder, settings(), examiner().figures)


if __name__ == "__main__":
    main()
