"""Where faces are in a picture, by one of two detectors."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from PIL import Image
from torch import Tensor

from ..pixels import to_bytes
from .cascade import face_squares
from .insightface import analysed_faces, find_insightface_pack, import_face_analysis

log = logging.getLogger("persona")

_HUMANS = """
    person people human adult man woman male female boy girl child kid baby toddler
    infant teenager teen lady gentleman guy gal dude mother father mom dad parent grandmother grandfather
    grandma grandpa son daughter brother sister husband wife uncle aunt friend bride groom actor actress
    singer celebrity politician king queen prince princess
"""
HUMANS = frozenset(_HUMANS.split())
"""Supercategory words that mean somebody who has a human face."""
FACE_WORDS = HUMANS | {"face", "portrait", "selfie"}
"""Supercategory words under which a human face is looked for."""

DETECTORS = ("auto", "insightface", "cascade")


class NoFaceFound(ValueError):
    """A picture has no face, or fewer faces than the index asks for."""


@dataclass(frozen=True, eq=False)
class Face:
    """One face of a picture, in pixels from the top left corner.

    box: (x0, y0, x1, y1) from the middle of the forehead to the chin; it may reach over the picture's edge.
    score: how sure the detector is; 0..1 for InsightFace, the number of votes for the cascade.
    landmarks: InsightFace's 106 points [106, 2] as x, y; None where the detector gives none.
    """

    box: tuple[float, float, float, float]
    score: float
    landmarks: np.ndarray | None = None

    @property
    def area(self) -> float:
        """The box's area in square pixels."""
        x0, y0, x1, y1 = self.box
        return max(x1 - x0, 0.0) * max(y1 - y0, 0.0)


def choose_pack(folders: Sequence[Path], detector: str = "auto") -> Path | None:
    """The model pack to detect with, or None for the cascade.

    folders: `models/insightface` folders. detector: one of DETECTORS; "auto" takes a pack where one lies and
    InsightFace can be imported. Raises FileNotFoundError or ImportError, with what to do, where "insightface"
    cannot be had.
    """
    if detector == "cascade":
        return None
    pack = find_insightface_pack(folders)
    if pack is None:
        if detector == "auto":
            return None
        raise FileNotFoundError(
            f"No InsightFace model pack was found. Searched: {', '.join(map(str, folders))}. "
            "Unzip a pack, for example buffalo_l, so that its files lie in models/insightface/models/"
            "buffalo_l (among them det_10g.onnx and 2d106det.onnx), or set detector to cascade."
        )
    try:
        import_face_analysis()
    except ImportError as error:
        if detector == "insightface":
            raise
        log.warning("The model pack in %s is not used. %s", pack, error)
        return None
    return pack


def detect_faces(image: Tensor, pack: Path | None = None) -> list[Face]:
    """All faces of a picture, largest first.

    image: [H, W, 3] in 0..1. pack: a folder chosen by `choose_pack`, or None for the cascade.
    Raises ImportError where the detector's package is missing, ValueError where the pack cannot be read.
    """
    pixels = pixels_of(image)
    if pack is None:
        faces = _cascade_faces(pixels)
    else:
        faces = [
            Face(tuple(found["bbox"].tolist()), float(found["det_score"]), found.get("landmark_2d_106"))
            for found in analysed_faces(pixels, Path(pack))
        ]
    return sorted(faces, key=lambda face: face.area, reverse=True)


def _cascade_faces(pixels: np.ndarray, longest: int = 512) -> list[Face]:
    """Faces by the cascade, on a copy reduced to `longest` pixels."""
    scale = min(1.0, longest / max(pixels.shape[:2]))
    if scale < 1:
        height, width = (max(1, round(length * scale)) for length in pixels.shape[:2])
        if (step := max(pixels.shape[:2]) // (4 * longest)) > 1:  # as numbers, a huge picture takes four times as much
            pixels = np.array(Image.fromarray(pixels).reduce(step))
        pixels = in_bytes(resized(torch.from_numpy(pixels).float(), height, width))
    faces = []
    for (x0, y0, x1, y1), votes in face_squares(pixels):
        # The cascade's square is wider than a face and ends at the lower lip.
        inset, chin = 0.09 * (x1 - x0), 0.1 * (y1 - y0)
        box = tuple(v / scale for v in (x0 + inset, y0, x1 - inset, y1 + chin))
        faces.append(Face(box, float(votes)))
    return faces


def pick_face(
    faces: Sequence[Face], image: Tensor, face_index: int = 0, picture_index: int = 0, pack: Path | None = None
) -> Face:
    """The face_index-th of `faces`, which were found in image [H, W, 3] with `pack`. Raises NoFaceFound."""
    if 0 <= face_index < len(faces):
        return faces[face_index]
    height, width = image.shape[:2]
    picture = f"picture {picture_index} (counted from 0; {width} x {height} pixels)"
    if faces:
        many = "1 face was" if len(faces) == 1 else f"{len(faces)} faces were"
        raise NoFaceFound(
            f"Only {many} found in {picture}, so there is no face {face_index}. "
            f"Use a face_index from 0, the largest, to {len(faces) - 1}."
        )
    more = " An InsightFace model pack in models/insightface finds more faces than the built-in cascade."
    raise NoFaceFound(
        f"No face was found in {picture}. Try a photo in which the face is larger, upright and "
        f"looks at the camera, or paint a mask by hand.{more * (pack is None)}"
    )


def locate_face(image: Tensor, pack: Path | None = None, face_index: int = 0, picture_index: int = 0) -> Face:
    """One face of image [H, W, 3] in 0..1; face_index 0 is the largest.

    picture_index: the picture's place in its batch, for the error's sentence.
    Raises NoFaceFound, and what `detect_faces` raises.
    """
    return pick_face(detect_faces(image, pack), image, face_index, picture_index, pack)


def pixels_of(image: Tensor) -> np.ndarray:
    """uint8 [H, W, 3] of a picture [H, W, 3 or 4] in 0..1, as detectors take it."""
    return to_bytes(image[..., :3])


def in_bytes(image: Tensor) -> np.ndarray:
    return image.clamp(0, 255).round().byte().numpy()


def resized(image: Tensor, height: int, width: int) -> Tensor:
    """image [H, W, C] at another size, without aliasing."""
    image = rearrange(image, "h w c -> 1 c h w")
    image = F.interpolate(image, (height, width), mode="bilinear", antialias=True)
    return rearrange(image, "1 c h w -> h w c")
