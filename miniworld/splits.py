"""Who there is, for training and for measuring: everything follows from the seeds in SPLITS."""

from __future__ import annotations

import functools
import hashlib

import torch

from .drawing.identity import Cat, Person
from .drawing.scene import Scene, draw_scene
from .words.names import name_all, name_cats

RELEASE = "0.2.0"  # the version of the pack that is checked on the people of `release`: another draws others
# The people of different splits never meet. `train` is for whatever learns. `exam` is shown to the finished
# instruments and VAE once. The others are for personas: `tuning` to choose settings by, `table` for the tables that
# are published, `demo` for the demo and the tests, `release` for what is claimed of a release.
SPLITS = {"train": 0, "exam": 1, "tuning": 2, "table": 3, "demo": 4, "release": RELEASE}


def seed_of(*parts) -> int:
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:7], "little")


def generator_of(split: str, *parts) -> torch.Generator:
    return torch.Generator().manual_seed(seed_of(SPLITS[split], *parts))


def person(split: str, index: int) -> Person:
    """The stranger of a split with this number."""
    return Person.draw(generator_of(split, "person", index))


def cat(split: str, index: int) -> Cat:
    return Cat.draw(generator_of(split, "cat", index))


@functools.cache
def named() -> tuple[dict[str, Person], dict[str, Cat]]:
    return name_all(), name_cats()


def view(split: str, who: Person | Cat, *parts) -> Scene:
    """Somebody alone in a random scene."""
    return draw_scene([who], generator_of(split, "view", *parts))
