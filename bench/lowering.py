"""Measure what lowers likeness, and what helps: each person is learned from one photo as it should be, from worse ones,
in other ways, and painted with other settings.

    make bench-lowering [ARGS="--people 4"]

People, prompts and scores are those of quality.py. Takes four minutes a person on one core and writes docs/lowering.md,
which docs/is-it-her.md tells artists about. A run that was stopped goes on where it was.
"""

import argparse
import os
from dataclasses import replace
from functools import partial
from pathlib import Path

from tools import host_modules  # noqa: F401, isort: skip  (before comfy)

import torch
from safetensors.torch import load_file, save

from bench import lowering_page, quality
from bench.choices import FULL, RELEASE, Group
from bench.quality import PACK, PLACEHOLDER, Bench, bench_of, examiner, file_size, in_processes, judge, learned, models
from bench.results import CEILING, FLOOR, read
from bench.rivals import RESOLUTION
from bench.ways import Way, measure
from miniworld.drawing.pictures import SIZE, draw
from miniworld.drawing.render import layers
from miniworld.drawing.scene import SIZES, Scene
from miniworld.measuring.asking import prompts_for, said
from miniworld.measuring.subjects import Subject, named_subject, names, subject
from persona_core.files import write_whole
from persona_core.host.apply.encoding import apply_to_clip
from persona_core.photos import mask_square, resize
from persona_core.recipes import BALANCED, PRESETS
from persona_core.table import PERSONA, WORD, AppliedPersona

PAGE, SHEETS = PACK / "docs/lowering.md", PACK / "docs/is-it-her"
FIRST = 300  # nobody before has been looked at while choosing
REFERENCE, USES = "as_learned", "uses"
SEEDS, PICTURES = 3, 4  # of training, and of each prompt, to choose from


def photographed(somebody: Subject, scene: Scene) -> Subject:
    """The same person with a photo of this scene."""
    picture, heads, _ = layers([scene], SIZE)
    return replace(somebody, scene=scene, photo=picture[0], mask=(heads[0, 0] > 0).float())


def wearing(somebody: Subject, **worn: str) -> Subject:
    """The same photo, with a hat or glasses on. The mask holds what is over the head, as Face Mask's does."""
    figure = somebody.scene.figures[0]
    scene = replace(somebody.scene, figures=(replace(figure, look=replace(figure.look, **worn)),))
    _, _, wholes = layers([scene], SIZE)
    return replace(photographed(somebody, scene), mask=somebody.mask * (wholes[0, 0] > 0))


def from_afar(somebody: Subject, shot: str) -> Subject:
    """The same scene, in which the person is as near as in this shot."""
    figure = replace(somebody.scene.figures[0], x=0.0, y=-0.1 if shot == "small" else 0.0, size=SIZES[shot])
    return photographed(somebody, replace(somebody.scene, figures=(figure,)))


def cropped(somebody: Subject) -> Subject:
    """The photo cut to the head and enlarged, as Learn Persona does with crop_to_face."""
    photo = quality.photo_of(somebody)
    part = photo.crop(mask_square(photo)).resized(RESOLUTION, 8)
    return replace(somebody, photo=part.image.movedim(-1, 0), mask=part.mask)


def reduced(somebody: Subject, times: int) -> Subject:
    """The photo as if it had been so many times smaller, enlarged again."""
    small = resize(somebody.photo[None], SIZE // times, SIZE // times)
    return replace(somebody, photo=resize(small, SIZE, SIZE)[0])


def photos() -> dict[str, Way]:
    """What may be wrong with the photo."""
    afar = partial(from_afar, shot="small")
    sunglasses = partial(wearing, glasses="sunglasses")
    return {
        REFERENCE: Way("as it should be: head and shoulders, sharp, masked", FULL),
        "close": Way("the face fills it", FULL, taken=lambda one: from_afar(one, "close")),
        "half": Way("half as many pixels, enlarged", FULL, taken=lambda one: reduced(one, 2)),
        "quarter": Way("a quarter as many, enlarged", FULL, taken=lambda one: reduced(one, 4)),
        "afar": Way("the whole figure", FULL, taken=afar),
        "afar_cropped": Way("the whole figure, cut to the head", FULL, taken=lambda one: cropped(afar(one))),
        "sunglasses": Way("sunglasses on", FULL, taken=sunglasses),
        "sunglasses_told": Way("sunglasses on, told in the caption", FULL, captioned=True, taken=sunglasses),
        "hat": Way("a hat on", FULL, taken=partial(wearing, hat="beanie")),
        "unmasked": Way("no mask: the background counts, too", FULL, masked=False),
    }


def uses() -> dict[str, Way]:
    """What Apply can do about the persona that was learned from the photo as it should be."""
    return {
        REFERENCE: Way("as learned", FULL),
        "strength_0.7": Way("strength 0.7", FULL, apply={"strength": 0.7}),
        "strength_1.2": Way("strength 1.2", FULL, apply={"strength": 1.2}),
        "context_0.5": Way("context_preservation 0.5", FULL, apply={"context_preservation": 0.5}),
        "early_persona": Way("early: persona", FULL, apply={"early": PERSONA}),
        "late_word": Way("late: word", FULL, apply={"late": WORD}),
    }


def lessons() -> dict[str, Way]:
    """What learning again can do about it."""
    longer = replace(FULL, learning=replace(PRESETS[BALANCED], steps=4 * PRESETS[BALANCED].steps))
    return {
        "one": Way("one token", replace(FULL, tokens=1)),
        "longer": Way("*balanced*, four times as many steps", longer),
    }


def groups() -> list[Group]:
    """The tables of ways, all of them compared with the usual one."""
    usual = {REFERENCE: Way("*auto*, four tokens", FULL)}
    return [
        Group("The photo", photos(), REFERENCE, RELEASE),
        Group("Settings of Apply", uses(), REFERENCE, RELEASE),
        Group("Learning again", usual | lessons(), REFERENCE, RELEASE),
    ]


def use(bench: Bench, number: int) -> None:
    """Learn a person once and paint them with each of the settings."""
    somebody = subject(number, bench.split)
    ((steps, seconds, persona),) = learned(FULL, [quality.photo_of(somebody)], (FULL.learning.steps,))
    facts = {"passes": steps * FULL.learning.batch_size, "seconds": seconds, "size": file_size(persona)}
    for row, way in uses().items():
        clip = apply_to_clip(models()[1], AppliedPersona(persona, **way.apply), PLACEHOLDER)
        judge(bench, row, number, somebody, clip, PLACEHOLDER, **facts)


def series_file(bench: Bench, seed: int, number: int) -> Path:
    return bench.folder / f"series-{seed}-{number}.safetensors"


def series(bench: Bench, seed: int, number: int) -> None:
    """Several pictures of each prompt [pictures, prompts], of one learning: likeness, likeness to the photo alone, by
    which an artist has to choose, and whether the prompt was obeyed."""
    somebody, prompts = subject(number, bench.split), prompts_for()
    recipe = replace(FULL, learning=replace(FULL.learning, seed=seed))
    ((_, _, persona),) = learned(recipe, [quality.photo_of(somebody)], (recipe.learning.steps,))
    clip = apply_to_clip(models()[1], AppliedPersona(persona), PLACEHOLDER)
    asked = [said(prompt, PLACEHOLDER) for prompt in prompts]
    first = (number + 1) * 1000  # none of judge's
    painted = torch.cat([quality.paint(clip, asked, first + picture) for picture in range(PICTURES)])
    boxes = draw([somebody.scene])[2][:, 0].float()
    by_photo = replace(somebody, redrawn=somebody.photo[None], boxes=boxes)
    scores, to_photo = (examiner().score(painted, [*prompts.values()] * PICTURES, one) for one in (somebody, by_photo))
    found = {"likeness": scores.likeness, "to_photo": to_photo.likeness, "obeyed": scores.obeyed.float()}
    table_of = {name: value.view(PICTURES, len(prompts)) for name, value in found.items()}
    write_whole(series_file(bench, seed, number), save(table_of))


def work(bench: Bench, name: str, number: int) -> str:
    """One row, or several of one learning, in a process of its own."""
    torch.set_num_threads(1)
    if name == USES:
        use(bench, number)
    elif name.isdigit():
        series(bench, int(name), number)
    elif name in (FLOOR, CEILING):
        quality.work(bench, name, number)
    else:
        measure(bench, name, (photos() | lessons())[name], number)
    return f"{name} {number}"


def missing(bench: Bench, number: int) -> list[str]:
    """The jobs of a person that are still to be done."""
    rows = [FLOOR, CEILING, *(row for row in photos() | lessons() if row != REFERENCE)]
    jobs = [row for row in rows if not bench.file(row, number).exists()]
    if not all(bench.file(row, number).exists() for row in uses()):
        jobs.append(USES)
    return jobs + [str(seed) for seed in range(SEEDS) if not series_file(bench, seed, number).exists()]


def known(bench: Bench, number: int) -> torch.Tensor:
    """Likeness [prompts] of somebody whom the painter knows by name, of the pictures that were painted for CEILING."""
    pictures = load_file(bench.file(CEILING, number).with_suffix(".safetensors"))["shown"][1:] / 255
    return examiner().score(pictures, [*prompts_for().values()], named_subject(names()[number])).likeness


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=12)
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("--page", type=Path, default=PAGE, help="where the tables go")
    parser.add_argument("--sheets", type=Path, default=SHEETS, help="the folder of the contact sheets")
    args = parser.parse_args()
    bench = bench_of("lowering", RELEASE)
    people = range(FIRST, FIRST + args.people)
    jobs = [(name, number) for number in people for name in missing(bench, number)]
    if jobs:
        in_processes(args.processes, work, bench, jobs)
    rows = [FLOOR, CEILING, *(row for group in groups() for row in group.ways)]
    found = read(bench.folder, list(dict.fromkeys(rows)))
    results = {row: {one: found[row][one] for one in people} for row in found}
    tried = [[load_file(series_file(bench, seed, one)) for seed in range(SEEDS)] for one in people]
    ceiling = torch.stack([known(bench, one) for one in people])
    lowering_page.write(args.page, args.sheets, bench.folder, groups(), results, tried, ceiling)


if __name__ == "__main__":
    main()
