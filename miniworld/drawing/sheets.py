"""Contact sheets, to look at the world: python -m miniworld.drawing.sheets [name ...]

They go to .comfyui/world/sheets.
"""

import sys
import time
from dataclasses import fields, replace
from pathlib import Path

import torch
from torch import Tensor

from ..sheet import sheet
from .identity import BEARDS, HAIR_STYLES, Cat, Person
from .look import CLOTHES, EXPRESSIONS, GLASSES, HATS, Look
from .render import boxes, render
from .scene import INDOORS, LIGHTS, PLACES, TIMES, Figure, Scene, draw_scene

FOLDER = Path(__file__).resolve().parents[2] / ".comfyui/world/sheets"


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def save(name: str, pictures: Tensor, columns: int, enlarge: int) -> None:
    sheet(pictures, columns, FOLDER / f"{name}.png", enlarge)


def portraits() -> None:
    """Plain portraits of 32 people."""
    g = generator(1)
    people = [Person.draw(g) for _ in range(32)]
    save("portraits", render([Scene((Figure(p, Look(), size=0.5),)) for p in people])[0], 8, 2)


def random_people() -> None:
    g = generator(2)
    start = time.time()
    pictures = render([draw_scene([Person.draw(g)], g) for _ in range(64)])[0]
    print(f"{64 / (time.time() - start):.0f} pictures a second")
    save("random", pictures, 8, 2)


def moods() -> None:
    """One person in every expression, looking left, ahead and right; then a cat."""
    scenes = []
    for kind, seed in ((Person, 3), (Person, 9), (Cat, 5)):
        person, clothes = kind.draw(generator(seed)), "sweater" if kind is Person else "collar"
        scenes += [
            Scene((Figure(person, Look(yaw, mood, clothes=clothes), size=0.5),), light=LIGHTS[i % 3])
            for i, yaw in enumerate((-0.85, 0.0, 0.85)) for mood in EXPRESSIONS
        ]  # fmt: skip
    save("moods", render(scenes)[0], 6, 2)


def places() -> None:
    """Every place, empty: three of a kind in a row, at all hours where it has hours."""
    g = generator(4)
    scenes = [
        Scene((), place, time, "left", tuple(torch.rand(4, generator=g).tolist()))
        for place in PLACES for time in (*TIMES, *TIMES)
    ]  # fmt: skip
    save("places", render(scenes)[0], 12, 2)


def cats() -> None:
    g = generator(5)
    save("cats", render([draw_scene([Cat.draw(g)], g) for _ in range(32)])[0], 8, 2)


def pairs() -> None:
    g = generator(6)
    kinds = [(Person, Person)] * 3 + [(Person, Cat)]
    scenes = [draw_scene([kind.draw(g) for kind in kinds[i % 4]], g) for i in range(32)]
    save("pairs", render(scenes)[0], 8, 2)


def near() -> None:
    """Large, to see the strokes."""
    g = generator(61)
    scenes = []
    while len(scenes) < 15:
        scene = draw_scene([Person.draw(g)], g)
        scenes += [scene] if scene.shot == "close" else []
    save("near", render(scenes)[0], 5, 3)


def everywhere() -> None:
    """Two people in every place, in other looks."""
    g, scenes = generator(21), []
    for who in (Person.draw(generator(31)), Person.draw(generator(36)), Cat.draw(generator(33))):
        for place in PLACES:
            scene = draw_scene([who], g)
            time = "day" if place in INDOORS else "night" if place == "night sky" else scene.time
            scenes.append(replace(scene, place=place, time=time))
    save("everywhere", render(scenes)[0], 10, 2)


def changed(who, name: str):
    """The same with one number changed: a choice to the next, a number to the other end."""
    choices = who.choices()
    value = getattr(who, name)
    other = (value + 1) % len(choices[name]) if name in choices else (0.95 if value < 0.5 else 0.05)
    return replace(who, **{name: other})


def small_changes() -> None:
    """A person, then the same with one number changed at a time."""
    who = replace(Person.draw(generator(8)), hair_style=8, hair_colour=3, freckles=0.0, age=0.2, beard=0, skin=0.1)
    people = [who] + [changed(who, field.name) for field in fields(Person)]
    look = Look(0.1, "smiling", clothes="shirt", colour="green")
    save("small_changes", render([Scene((Figure(p, look, 0, 0.02, 0.6),)) for p in people])[0], 10, 2)


def masks() -> None:
    """Pictures of one and two, with the masks in red and blue and their boxes."""
    g = generator(14)
    kinds = [(Person,), (Cat,), (Person, Person), (Person, Cat)]
    scenes = [draw_scene([kind.draw(g) for kind in kinds[i % 4]], g) for i in range(16)]
    pictures, found = render(scenes)
    tints = torch.tensor([[1.0, 0.1, 0.1], [0.1, 0.2, 1.0]])
    shown = pictures.clone()
    for place in range(2):
        mask = found[:, place, None].float()
        shown = shown * (1 - 0.6 * mask) + 0.6 * mask * tints[place][:, None, None]
        for row, (left, top, right, bottom) in enumerate(boxes(found[:, place]).tolist()):
            if right:
                shown[row, :, top, left:right] = shown[row, :, bottom - 1, left:right] = 1
                shown[row, :, top:bottom, left] = shown[row, :, top:bottom, right - 1] = 1
    save("masks", torch.stack([pictures, shown], 1).flatten(0, 1), 8, 2)


def styles() -> None:
    """Every hair style, then every beard: ahead and turned."""
    g, scenes = generator(41), []
    kinds = [dict(hair_style=index, age=0.2) for index in range(len(HAIR_STYLES))]
    for kind in kinds + [dict(woman=0, beard=index) for index in range(len(BEARDS))]:
        for yaw in (0.0, 0.85):
            person = replace(Person.draw(g), **kind)
            look = replace(Look.draw(g), yaw=yaw, hat="none", glasses="none")
            scenes.append(replace(draw_scene([person], g), figures=(Figure(person, look, size=0.46),)))
    save("styles", render(scenes)[0], 10, 2)


def worn() -> None:
    """Every hat, every pair of glasses and all clothes."""
    g, scenes = generator(42), []
    for name, values in (("hat", HATS), ("glasses", GLASSES), ("clothes", CLOTHES)):
        for value in values:
            for yaw in (0.0, -0.85):
                person = Person.draw(g)
                look = replace(Look.draw(g), yaw=yaw, **{name: value})
                scenes.append(replace(draw_scene([person], g), figures=(Figure(person, look, y=0.08, size=0.42),)))
    save("worn", render(scenes)[0], 10, 2)


SHEETS = {
    "styles": styles,
    "worn": worn,
    "masks": masks,
    "everywhere": everywhere,
    "small_changes": small_changes,
    "near": near,
    "cats": cats,
    "pairs": pairs,
    "places": places,
    "portraits": portraits,
    "random": random_people,
    "moods": moods,
}

if __name__ == "__main__":
    torch.set_num_threads(1)
    for name in sys.argv[1:] or SHEETS:
        SHEETS[name]()
