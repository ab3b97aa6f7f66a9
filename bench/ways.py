"""Ways to learn a person that are compared with each other: what each learns from, how, and how it is painted."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import mean

import torch

from bench.learning import file_size
from bench.pages import markdown
from bench.quality import PLACEHOLDER, Bench, judge, learned, models, photo_of
from bench.quality_page import leak_of, scores
from bench.results import FLOOR, Results, lost
from miniworld.drawing.scene import Scene
from miniworld.measuring.subjects import Subject, subject
from miniworld.words.captions import PLACES
from miniworld.words.facts import facts
from persona_core.host.apply.encoding import apply_to_clip
from persona_core.photos import Photo, augmented
from persona_core.recipes import Recipe
from persona_core.table import AppliedPersona

CAPTIONED = "hat", "glasses", "clothes", "expression", "turn"  # of the person, and where they are


@dataclass(frozen=True)
class Way:
    """One row. title: of it. masked: whether the loss looks at the person only. worn: whether the photo shows them with
    a hat or glasses. captioned: whether learning is told what else the photo shows. augmented: whether the photo is
    learned in variants. apply: settings of AppliedPersona. prepared: what makes the recipe ready, where that takes the
    models: no process that others are forked from may load them. taken: gives the same person with another photo.
    """

    title: str
    recipe: Recipe
    masked: bool = True
    worn: bool = False
    captioned: bool = False
    augmented: bool = False
    apply: Mapping[str, float | str] = field(default_factory=dict)
    prepared: Callable[[Recipe], Recipe] = lambda recipe: recipe
    taken: Callable[[Subject], Subject] = lambda somebody: somebody

    def photos(self, somebody: Subject) -> list[Photo]:
        photo = photo_of(somebody, self.masked)
        if self.augmented:
            return augmented([photo], self.recipe.learning.seed)
        return [photo, photo.mirrored()] if self.recipe.mirror else [photo]


def caption_of(scene: Scene) -> str:
    """What an artist could say of a photo beside who it is."""
    seen = facts(scene.figures[0])
    return ", ".join([*(seen[name][0] for name in CAPTIONED if seen.get(name)), PLACES[scene.place][0]])


def measure(bench: Bench, row: str, way: Way, number: int) -> None:
    """Learn one person in one way and paint them, in a process of its own."""
    torch.set_num_threads(1)
    somebody = way.taken(subject(number, bench.split, worn=way.worn))
    recipe = way.prepared(way.recipe)
    if way.captioned:
        recipe = replace(recipe, caption=caption_of(somebody.scene))
    ((steps, seconds, persona),) = learned(recipe, way.photos(somebody), (recipe.learning.steps,))
    clip = apply_to_clip(models()[1], AppliedPersona(persona, **way.apply), PLACEHOLDER)
    facts_of = {"passes": steps * recipe.learning.batch_size, "seconds": seconds, "size": file_size(persona)}
    judge(bench, row, number, somebody, clip, PLACEHOLDER, **facts_of)


HEADINGS = "", "passes", "ID similarity", "prompt accuracy", "ID(Prompt)", "lost", "worst", "leak", "people"


def table(results: Results, ways: Mapping[str, Way], against: str, floor: str = FLOOR) -> str:
    """Rows as Markdown. against: the row that differences are taken from. floor: whose pictures show what leaks by
    chance."""
    lines: list[Sequence[str]] = [HEADINGS, ("---",) * len(HEADINGS)]
    for name, way in ways.items():
        people = results.get(name)
        if not people:
            continue
        passes = mean(result.passes for result in people.values())
        cells = scores(people, None if name == against else results[against])
        worst = min(result.likeness for result in people.values())
        leak = leak_of(results, name, floor)
        lines.append(
            (way.title, f"{passes:.0f}", *cells, f"{lost(people):.0%}", f"{worst:.2f}", leak, str(len(people)))
        )
    return markdown(lines)
