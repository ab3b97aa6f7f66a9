"""Scenes in ordinary words. No attribute is named that cannot be seen."""

from __future__ import annotations

import random
from collections.abc import Sequence

from ..drawing.scene import OUTDOORS, Figure, Scene
from .facts import a, facts, subjects

PLACES = {
    "room": ("in a room", "at home", "in front of a wall with pictures"), "garden": ("in a garden", "among flowers"),
    "street": ("on a street", "in a town", "in front of houses"), "beach": ("at the beach", "on a beach", "by the sea"),
    "night sky": ("under the stars", "in front of the night sky", "under the moon"),
    "forest": ("in a forest", "in the woods", "among trees"), "library": ("in a library", "in front of books"),
    "kitchen": ("in a kitchen", "in the kitchen"),
    "mountains": ("in snowy mountains", "in the snow", "in front of mountains"),
    "stage": ("on a stage", "in front of a curtain"),
}  # fmt: skip
TIMES = {"day": ("by day", "on a sunny day"), "sunset": ("at sunset", "in the evening"), "night": ("at night",)}
LIGHTS = {"left": "lit from the left", "right": "lit from the right", "above": "lit from above"}
SHOTS = {"close": ("from near", "close up"), "bust": (), "small": ("from far away", "small")}
BEGINNINGS = ("", "", "", "a picture of ", "a portrait of ", "a photo of ", "an image of ", "a drawing of ")
# As prompts speak of a subject whose name is only a word: a share of the captions begins so, a name taken as a noun.
PROMPTS = (
    "a {}", "the {}", "a photo of a {}", "a photo of the {}", "a photo of one {}", "a picture of a {}",
    "a portrait of a {}", "a snapshot of the {}", "a cropped photo of a {}", "a cropped photo of the {}",
    "a bright photo of a {}", "a bright photo of the {}", "a dark photo of the {}", "a clear photo of a {}",
    "a clear photo of the {}", "a good photo of a {}", "a good photo of the {}", "a nice photo of the {}",
    "a sharp photo of the {}", "a soft photo of the {}", "a depiction of the {}", "a rendition of the {}",
    "an image of a {}", "this is a photo of the {}", "a detailed photo of the {}", "a photo of a face of {}",
    "a photo of the face of {}", "a portrait of the face of {}", "a picture of the face of {}",
)  # fmt: skip
NEAR_PROMPTS = (
    "a close-up photo of a {}", "a close-up photo of the {}", "a close-up photo of a face of {}",
    "a close-up photo of the face of {}",
)  # fmt: skip
PROMPTED = 0.25

# How often something is mentioned that is there; what most lack or have is mentioned less.
MENTION = {"hat": 0.75, "glasses": 0.7, "clothes": 0.4, "expression": 0.55, "turn": 0.5, "hair": 0.6, "beard": 0.5}
PLAIN = ("without a hat", "without glasses", "without a beard", "looking ahead", "looking calm")


def phrases_of(figure: Figure, named: bool, most: int, chance: random.Random) -> list[str]:
    """A few true phrases, in random order. A name already says what somebody's face is like."""
    worn = ("hat", "glasses", "clothes", "expression", "turn")
    said = []
    for about, ways in facts(figure).items():
        share = MENTION.get(about, 0.3) * (0.12 if named and about not in worn else 1.0)
        if ways and chance.random() < share * (0.25 if ways[0] in PLAIN else 1.0):
            said.append(chance.choice(ways))
    chance.shuffle(said)
    return said[:most]


def where(scene: Scene, chance: random.Random) -> str:
    words = chance.choice(PLACES[scene.place])
    if scene.place in OUTDOORS and scene.place != "night sky" and chance.random() < 0.6:
        words += " " + chance.choice(TIMES[scene.time])
    return words


def listed(beginning: str, phrases: Sequence[str], chance: random.Random) -> str:
    """The phrases strung together as people do."""
    text = beginning
    for index, phrase in enumerate(phrases):
        last = index == len(phrases) - 1 and index > 0
        link = chance.choice((" ", ", ") if index == 0 else (" and ", ", ") if last else (", ", ", ", " "))
        text += link + phrase
    return text


def caption(scene: Scene, chance: random.Random, names: Sequence[str | None] = (None, None)) -> str:
    """One of the many true captions of a picture; `names` are of its figures, None for a stranger."""
    people = scene.figures
    if len(people) == 2:
        return pair_caption(scene, chance, names)
    phrases = phrases_of(people[0], names[0] is not None, chance.choice((0, 1, 2, 3, 4)), chance)
    if chance.random() < 0.7:
        phrases.insert(chance.randint(0, len(phrases)), where(scene, chance))
    if SHOTS[scene.shot] and chance.random() < 0.2:
        phrases.append(chance.choice(SHOTS[scene.shot]))
    if scene.shot != "small" and chance.random() < 0.1:
        phrases.append(LIGHTS[scene.light])
    subject = names[0] or chance.choice(subjects(people[0]))
    if chance.random() < PROMPTED:
        return listed(prompted(subject, names[0] is not None, scene.shot, chance), phrases, chance)
    return listed(chance.choice(BEGINNINGS) + subject, phrases, chance)


def prompted(subject: str, named: bool, shot: str, chance: random.Random) -> str:
    """As in "a photo of the Emma" and "a picture of the face of an old man"."""
    prompt = chance.choice(PROMPTS + NEAR_PROMPTS * 3 if shot == "close" else PROMPTS)
    if named or "face of" in prompt:
        return prompt.format(subject)
    noun = subject.partition(" ")[2]
    return prompt.replace("a {}", a(noun)).format(noun)


def prompt_words() -> tuple[str, ...]:
    """Texts with every word of the prompts, and of what a subject may be called in them."""
    return (*(prompt.format("person face man woman cat people") for prompt in PROMPTS + NEAR_PROMPTS), ",")


def pair_caption(scene: Scene, chance: random.Random, names: Sequence[str | None]) -> str:
    sides = []
    apart = chance.random() < 0.65
    for figure, name, side in zip(scene.figures, names, ("left", "right")):
        words = listed(
            name or chance.choice(subjects(figure)),
            phrases_of(figure, name is not None, chance.choice((0, 1, 2)), chance),
            chance,
        )
        sides.append(f"{words} on the {side}" if apart else words)
    if apart and chance.random() < 0.5:
        sides.reverse()
    text = sides[0] + (" and " if apart else chance.choice((" and ", " next to ", " beside "))) + sides[1]
    if chance.random() < 0.7:
        text += chance.choice((" ", ", ")) + where(scene, chance)
    return chance.choice(BEGINNINGS) + text
