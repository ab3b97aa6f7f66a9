"""Whose face it is: faces with an embedding, by InsightFace where a model pack lies on disk, else by dlib."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from . import dlib, insightface
from .detection import Face, pixels_of

log = logging.getLogger("persona")


class NoRecogniser(ImportError):
    """Nothing is installed that tells one face from another."""


@dataclass(frozen=True, eq=False, kw_only=True)
class KnownFace(Face):
    """embedding: what it looks like to a recogniser [D], of length 1."""

    embedding: Tensor


@dataclass(frozen=True)
class Recogniser:
    """Finds faces and gives each its embedding, from the face as its landmarks align it.

    name: for tables; figures of two recognisers are not to be compared. find: of uint8 RGB pixels [H, W, 3], each face
    with its embedding.
    """

    name: str
    find: Callable[[np.ndarray], list[KnownFace]] = field(compare=False)

    def faces(self, image: Tensor) -> list[KnownFace]:
        """The faces of a picture [H, W, 3] in 0..1, largest first."""
        return sorted(self.find(pixels_of(image)), key=lambda face: face.area, reverse=True)


def choose_recogniser(folders: Sequence[Path]) -> Recogniser:
    """InsightFace where one of the packs in `models/insightface` folders can recognise, else dlib.

    Raises NoRecogniser with both ways to get one, ValueError where a pack cannot be read.
    """
    packs = insightface.insightface_packs(folders)
    try:
        for pack in packs:
            if insightface.recognises(pack):
                return Recogniser(f"InsightFace ({pack.name})", partial(_by_insightface, pack=pack))
    except ImportError as error:
        log.warning("The model packs in %s are not used. %s", ", ".join(map(str, folders)), error)
    if dlib.can_be_imported():
        return Recogniser("dlib", _by_dlib)
    raise NoRecogniser(
        f"Nothing is installed that tells faces apart. Either {dlib.ADVICE}, into the Python that runs ComfyUI: its "
        "models are in the public domain. Or, where its licence suits you (research, not commercial), unzip an "
        "InsightFace pack, such as buffalo_l, so that its files lie in models/insightface/models/buffalo_l, and "
        "install insightface (docs/insightface.md)."
    )


def _by_insightface(pixels: np.ndarray, pack: Path) -> list[KnownFace]:
    return [
        KnownFace(tuple(one["bbox"].tolist()), float(one["det_score"]), embedding=of_length_one(one["embedding"]))
        for one in insightface.recognised_faces(pixels, pack)
    ]


def _by_dlib(pixels: np.ndarray) -> list[KnownFace]:
    return [
        KnownFace(box, sure, embedding=of_length_one(numbers)) for box, sure, numbers in dlib.recognised_faces(pixels)
    ]


def of_length_one(numbers: np.ndarray) -> Tensor:
    return torch.nn.functional.normalize(torch.from_numpy(np.asarray(numbers)).float(), dim=0)
