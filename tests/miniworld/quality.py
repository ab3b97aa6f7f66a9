"""Measure likeness and obedience: learn held-out people in every way to be compared, paint them, score the pictures.

    make bench-quality [ARGS=--small]

All of it takes over an hour on 2 cores and writes docs/quality.md; --small takes minutes and only prints. One process
a core. Each result is a file of its own, so that a run which was stopped goes on where it was.
"""

import argparse
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, replace
from functools import cache
from multiprocessing import get_context
from pathlib import Path

from . import host  # noqa: F401, isort: skip  (before comfy)

import torch
from einops import rearrange
from safetensors.torch import save_file
from torch import Tensor

from persona_core.host.encoding import apply_to_clip
from persona_core.host.learner import Lesson, Recipe, learn_persona
from persona_core.host.pictures import Photo
from persona_core.learning import LearningSettings
from persona_core.persona import Persona
from persona_core.table import AppliedPersona

from . import lesson, model, quality_page
from .measuring import PROMPTS, Examiner, Sitter, named_sitter, sitter
from .painting import sample
from .quality_page import Result
from .rivals import Rival, StaticVector, rivals

RESULTS, PAGE = Path(".comfyui/quality"), Path("docs/quality.md")
PLACEHOLDER = "<ann>"
SEEDS = 4  # pictures of each prompt
STEPS, GUIDANCE = 10, 3.0  # of the sampler
BUDGETS = (50, 100, 200, 400, 1000)
LEARN = lesson.SETTINGS["PersonaLearn"]
SETTINGS = LearningSettings(LEARN["steps"], LEARN["learning_rate"], LEARN["batch_size"])
UNLEARNED = {"plain": "plain prompt (floor)", "named": "a person whom the painter knows by name (ceiling)"}


@cache
def models() -> tuple:
    return model.load(model.PAINTER)


@cache
def examiner() -> Examiner:
    return Examiner()


@torch.inference_mode()
def paint(clip, word: str) -> Tensor:
    """Every prompt with every seed: pictures [prompts * SEEDS, 3, 32, 32]."""
    painter, _, vae = models()
    encoded = (clip.encode_from_tokens_scheduled(clip.tokenize(prompt.replace("{}", word))) for prompt in PROMPTS)
    return torch.cat([sample(painter, clip, vae, positive, SEEDS, 0, STEPS, GUIDANCE) for positive in encoded])


def judge(row: str, number: int, person: Sitter, pictures: Tensor, folder: Path, **facts) -> None:
    """Score, and write result and pictures down."""
    asked = [want for want in PROMPTS.values() for _ in range(SEEDS)]
    scores = examiner().score(pictures, asked, person)
    result = Result(
        row=row,
        person=number,
        likeness=scores.likeness.mean().item(),
        obeyed=scores.obeyed.float().mean().item(),
        identity_if_obeyed=(scores.likeness * scores.obeyed).mean().item(),
        background=scores.background.nanmean().item(),
        distance=scores.distance.mean().item(),
        **facts,
    )
    shown = torch.cat([person.photo[None], pictures[::SEEDS]])  # the first seed of each prompt
    save_file({"shown": shown.mul(255).round().byte()}, folder / f"{row}-{number:02}.safetensors")
    (folder / f"{row}-{number:02}.json").write_text(json.dumps(asdict(result)))


def learn_and_judge(rival: Rival, name: str, number: int, folder: Path) -> None:
    """Learn one person, and try the persona out after each of the steps that the rival asks for."""
    person = sitter(number)
    mask = person.mask if rival.masked else torch.ones_like(person.mask)
    photo = Photo(rearrange(person.photo, "c h w -> h w c"), mask)
    recipe = replace(rival.recipe, stages=rival.stages(models(), photo))
    for steps, seconds, persona in learned(recipe, photo, rival.after):
        row = name if steps == recipe.learning.steps else f"{name}_{steps}"
        clip = apply_to_clip(models()[1], AppliedPersona(persona), PLACEHOLDER)
        size = file_size(persona)
        judge(row, number, person, paint(clip, PLACEHOLDER), folder, steps=steps, seconds=seconds, size=size)


def learned(recipe: Recipe, photo: Photo, after: tuple[int, ...]) -> Iterator[tuple[int, float, Persona]]:
    """The persona after each of these steps of one run, with the seconds that learning took until then."""
    seconds = 0.0
    with tempfile.TemporaryDirectory() as folder:
        for steps in after:
            asked = Lesson("ann", *models(), [photo], replace(recipe, learning=replace(recipe.learning, steps=steps)))
            began = time.monotonic()
            # Goes on where the file says the last one ended.
            persona = learn_persona(asked, "quality", Path(folder) / "unfinished", lambda progress: None)
            seconds += time.monotonic() - began
            yield steps, seconds, persona


def file_size(persona: Persona) -> int:
    """Bytes on disk; of Textual Inversion, which the pack has no file for, the vector's."""
    if isinstance(persona.representation, StaticVector):
        return 2 * persona.representation.vector.numel()
    return len(persona.to_bytes())


def compare(name: str, number: int, folder: Path) -> None:
    """Paint and judge a row in which nobody is learned."""
    if name == "plain":
        judge(name, number, sitter(number), paint(models()[1], "face"), folder)
    else:
        word, person = named_sitter(number)
        judge(name, number, person, paint(models()[1], word), folder)


def work(name: str, number: int, folder: Path, budgets: tuple[int, ...]) -> str:
    """One row for one person, in a process of its own."""
    torch.set_num_threads(1)
    if name in UNLEARNED:
        compare(name, number, folder)
    else:
        learn_and_judge(learning(budgets)[name], name, number, folder)
    return f"{name} {number}"


def learning(budgets: tuple[int, ...]) -> dict[str, Rival]:
    """The rows in which somebody is learned."""
    return rivals(SETTINGS, LEARN["te_weight"], budgets)


def settings() -> str:
    """How everything was learned and painted, for the page."""
    return (
        f"{SETTINGS.steps} steps of {SETTINGS.batch_size} pictures, learning rate {SETTINGS.learning_rate:g} and TE "
        f"weight {LEARN['te_weight']:g}, where the row does not say otherwise; {len(PROMPTS)} prompts, {SEEDS} seeds "
        f"each; Euler, {STEPS} steps, guidance {GUIDANCE:g}"
    )


def main() -> None:
    known = UNLEARNED | {name: rival.title for name, rival in learning(BUDGETS).items()}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=16)
    parser.add_argument("--rows", nargs="+", choices=known, default=list(known))
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("--folder", type=Path, default=RESULTS)
    parser.add_argument("--page", type=Path, default=PAGE, help="where the table and its sheets go")
    parser.add_argument("--small", action="store_true", help="four people, the most telling rows, no page")
    args = parser.parse_args()
    budgets = BUDGETS
    if args.small:
        budgets, args.page = (), None
        args.people, args.rows = 4, ["plain", "named", "textual_inversion", "careful_inversion", "full"]
    # Results of another painter or of other settings are no results of these.
    made_with = model.PAINTER.read_bytes() + f"{settings()} {budgets}".encode()
    folder = args.folder / hashlib.sha256(made_with).hexdigest()[:12]
    folder.mkdir(parents=True, exist_ok=True)
    jobs = [
        (row, number) for number in range(args.people) for row in args.rows
        if not (folder / f"{row}-{number:02}.json").exists()
    ]  # fmt: skip
    began = time.monotonic()
    # Forked, because a spawned process would not find `tests`: ComfyUI has a package of that name.
    with ProcessPoolExecutor(args.processes, get_context("fork")) as pool:
        running = [pool.submit(work, row, number, folder, budgets) for row, number in jobs]
        for done, future in enumerate(as_completed(running), 1):
            spent = time.monotonic() - began
            left = spent * (len(jobs) - done) / done / 60
            print(f"{done}/{len(jobs)}  {future.result()}  {left:.0f} min left", flush=True)
    results = quality_page.read(folder, known)
    print(quality_page.table(results, known))
    if args.page:
        quality_page.write(args.page, results, known, folder, settings(), examiner().figures)


if __name__ == "__main__":
    main()
