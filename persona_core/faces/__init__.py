"""Faces in a picture: where they are, a soft mask over the head, a square crop.

Two detectors give the same kind of answer: InsightFace where its model pack lies on disk, else the frontal-face cascade
inside scikit-image, which needs no model file. Nothing is ever downloaded.
"""

from .detection import (
    DETECTORS,
    FACE_WORDS,
    HUMANS,
    Face,
    NoFaceFound,
    choose_pack,
    detect_faces,
    find_insightface_pack,
    locate_face,
    pick_face,
)
from .mask import face_mask, square_at, square_crop
from .recognition import KnownFace, NoRecogniser, Recogniser, choose_recogniser

__all__ = [
    "DETECTORS", "FACE_WORDS", "HUMANS", "Face", "KnownFace", "NoFaceFound", "NoRecogniser", "Recogniser",
    "choose_pack", "choose_recogniser", "detect_faces", "face_mask", "find_insightface_pack", "locate_face",
    "pick_face", "square_at", "square_crop",
]  # fmt: skip
