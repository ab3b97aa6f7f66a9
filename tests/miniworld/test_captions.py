"""Captions say what is there."""

import json
import random
from dataclasses import replace
from pathlib import Path

import comfy.sd1_clip
import torch

from miniworld.drawing.identity import HAIR_STYLES, Cat, Person
from miniworld.drawing.look import HATS, Look
from miniworld.drawing.scene import Figure, Scene, draw_scene
from miniworld.words.captions import caption
from miniworld.words.facts import facts, subjects
from miniworld.words.names import LAST, MEN, WOMEN, name_all, name_cats

VOCABULARY = Path(comfy.sd1_clip.__file__).with_name("sd1_tokenizer") / "vocab.json"


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def person(**changes) -> Person:
    plain = dict(woman=1, age=0.4, beard=0, hair_style=9, hair_colour=3, freckles=0.0, mole=0.0, scar=0, streak=0)
    return replace(Person.draw(generator(1)), **(plain | changes))


def said(figure: Figure) -> str:
    return " | ".join(phrase for phrases in facts(figure).values() for phrase in phrases)


def test_what_is_worn_is_named():
    look = Look(-0.9, "laughing", "cap", "green", "round glasses", "hoodie", "yellow")
    text = said(Figure(person(), look))
    for words in ("green cap", "round glasses", "yellow hoodie", "laughing", "looking left", "red hair"):
        assert words in text
    for words in ("without", "smiling", "looking right", "beard"):
        assert words not in text


def test_what_is_not_worn_is_not_named():
    text = said(Figure(person(woman=0), Look()))
    for words in ("without a hat", "without glasses", "without a beard"):
        assert words in text
    assert not any(hat in text for hat in HATS[1:])


def test_nothing_is_named_that_cannot_be_seen():
    who = person(hair_style=HAIR_STYLES.index("bun"), earrings=2, freckles=1.0, eye_colour=3)
    assert all(words in said(Figure(who, Look(), size=0.6)) for words in ("green eyes", "freckles", "earrings", "bun"))
    assert not any(words in said(Figure(who, Look(), size=0.16)) for words in ("eyes", "freckles", "earrings", "calm"))
    assert "eyes" not in said(Figure(who, Look(glasses="sunglasses"), size=0.6))
    assert "eyes" not in said(Figure(who, Look(expression="laughing"), size=0.6))
    assert "bun" not in said(Figure(who, Look(hat="beanie"), size=0.6))
    assert "earrings" not in said(Figure(replace(who, hair_style=HAIR_STYLES.index("long")), Look(), size=0.6))


def test_subjects_are_true():
    assert set(subjects(Figure(person(woman=0, age=0.9)))) == {"an old man", "a man", "a person"}
    cat = replace(Cat.draw(generator(2)), coat=0, pattern=1)
    assert "a gray tabby cat" in subjects(Figure(cat, Look(clothes="collar")))


def test_two_people_are_on_their_sides():
    chance, g = random.Random(0), generator(3)
    seen = set()
    for _ in range(60):
        scene = draw_scene([person(woman=0), person(woman=1)], g)
        text = caption(scene, chance, ("Anna", None))
        assert "Anna" in text
        if " on the left" in text:
            left, right = text.index(" on the left"), text.index(" on the right")
            # Between a side and the side before it stands who is there.
            assert ("Anna" in text[:left]) if left < right else ("Anna" in text[right:left])
            seen.add(left < right)
    assert seen == {True, False}


def test_places_and_times():
    chance = random.Random(1)
    scene = Scene((Figure(person()),), "beach", "night")
    texts = [caption(scene, chance) for _ in range(200)]
    assert any("beach" in text or "sea" in text for text in texts) and any("at night" in text for text in texts)
    assert not any(words in text for text in texts for words in ("garden", "sunset", "forest", "by day"))


def test_captions_vary_and_are_short():
    chance, g = random.Random(2), generator(4)
    texts = [caption(draw_scene([Person.draw(g)], g), chance) for _ in range(500)]
    assert len(set(texts)) > 470 and max(len(text.split()) for text in texts) < 60


def test_names():
    names = name_all()
    assert len(names) == 1000 and len(name_cats()) > 60
    assert len({tuple(who.to_vector().tolist()) for who in names.values()}) == 1000
    alone = {name for name in names if " " not in name}
    assert len(alone) == 330 and not alone & {name.split()[0] for name in names if " " in name}
    assert all(who.woman == (name.split()[0].lower() in WOMEN) for name, who in names.items())
    assert not set(WOMEN) & set(MEN)


def test_every_word_of_a_name_is_one_token():
    known = json.loads(VOCABULARY.read_text())
    words = {word.lower() for name in [*name_all(), *name_cats(), *LAST] for word in name.split()}
    assert not [word for word in words if f"{word}</w>" not in known]
