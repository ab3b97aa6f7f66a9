"""Identities: numbers, and that each of them shows."""

from dataclasses import fields, replace

import pytest
import torch

from miniworld.drawing.identity import Cat, Person
from miniworld.drawing.look import Look
from miniworld.drawing.render import render
from miniworld.drawing.scene import Figure, Scene


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("kind", [Person, Cat])
def test_a_vector_says_it_all(kind):
    g = generator(0)
    vectors = torch.stack([kind.draw(g).to_vector() for _ in range(400)])
    assert vectors.shape[1] == len(fields(kind)) >= 40
    assert vectors.min() >= 0 and vectors.max() <= 1
    assert (vectors.std(0) > 0.05).all()  # everything varies
    assert torch.equal(kind.draw(generator(3)).to_vector(), kind.draw(generator(3)).to_vector())
    assert len(torch.unique(vectors, dim=0)) == 400


def other_values(who, name: str) -> list:
    """Other ends of a number, or all other choices."""
    if name in who.choices():
        return [value for value in range(len(who.choices()[name])) if value != getattr(who, name)]
    return [0.0, 1.0]


# Of what a number changes there must be some: (what is needed), for those that otherwise do not show.
NEEDS = {
    "hair_length": dict(hair_style=9), "hair_wave": dict(hair_style=10), "fringe": dict(hair_style=8),
    "parting": dict(hair_style=9), "hairline": dict(hair_style=3), "freckle_pattern": dict(freckles=0.9),
    "mole_x": dict(mole=0.9), "mole_y": dict(mole=0.9), "ear_size": dict(hair_style=1), "ear_angle": dict(hair_style=1),
    "earrings": dict(hair_style=1), "beard_size": dict(beard=4), "beard": dict(woman=0),
    "second": dict(pattern=3), "patch_x": dict(pattern=3), "patch_y": dict(pattern=3), "patch_size": dict(pattern=3),
    "stripes": dict(pattern=1), "contrast": dict(pattern=1), "spot_side": dict(spot=0.9),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("kind", [Person, Cat])
def test_every_number_shows(kind):
    clothes = "shirt" if kind is Person else "nothing"
    views = [(look, 0.0, 0.5) for look in (Look(0.0), Look(0.0, "laughing"), Look(0.6, "smiling"))] + [
        (Look(), 0.1, 0.22)
    ]
    views = [(replace(look, clothes=clothes), y, size) for look, y, size in views]
    shows = {}
    for field in fields(kind):
        needs = {name: value for name, value in NEEDS.get(field.name, {}).items() if name in kind.__dataclass_fields__}
        who = (
            replace(kind.draw(generator(12)), beard=0, hair_style=2)
            if kind is Person
            else replace(kind.draw(generator(12)), coat=0, second=2)
        )
        who = replace(who, **needs)
        variants = [who] + [replace(who, **{field.name: value}) for value in other_values(who, field.name)]
        counts = []
        for look, y, size in views:
            pictures = render([Scene((Figure(variant, look, 0, y, size),)) for variant in variants])[0]
            difference = (pictures[1:] - pictures[:1]).abs().amax(1)
            counts.append((difference > 0.04).sum((1, 2)).max().item())
        shows[field.name] = max(counts)
    print(f"\n{kind.__name__}: pixels that change, of 16384")
    print(", ".join(f"{name} {count}" for name, count in sorted(shows.items(), key=lambda item: item[1])))
    assert min(shows.values()) >= 12, min(shows, key=shows.get)
