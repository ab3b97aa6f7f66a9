"""Frontal faces with the cascade that scikit-image carries: no model file, no download.

The cascade alone takes many a shadow for a face. A real face is hit by dozens of neighbouring windows, in the
picture and in its mirror image alike, so windows vote and only what both sides agree on counts.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

Square = tuple[float, float, float, float]


def face_squares(pixels: np.ndarray, votes: int = 24, balance: float = 0.35) -> list[tuple[Square, int]]:
    """Squares (x0, y0, x1, y1) from forehead to lower lip with their votes, most votes first.

    pixels: uint8 [H, W, 3]; a face must be at least 24 pixels and a tenth of the shorter side.
    votes: windows that must agree. balance: least share of them in the picture, and in its mirror image.
    Measured on photos without a face: at most 10 votes; on frontal faces: 62 and more.
    Raises ImportError where scikit-image is missing.
    """
    hits = _window_hits(pixels)
    mirrored = _window_hits(np.ascontiguousarray(pixels[:, ::-1]))
    mirrored[:, [0, 2]] = pixels.shape[1] - mirrored[:, [2, 0]]
    boxes = np.concatenate([hits, mirrored])
    is_mirrored = np.repeat([False, True], [len(hits), len(mirrored)])

    squares: list[tuple] = []
    alike, free = _overlap(boxes) > 0.4, np.ones(len(boxes), bool)
    while free.any():
        group = alike[((alike & free).sum(1) * free).argmax()] & free
        if group.sum() < votes:
            break
        free &= ~group
        share, square = is_mirrored[group].mean(), tuple(boxes[group].mean(0).tolist())
        repeated = any(_one_holds_other(square, better) for better, _ in squares)
        if min(share, 1 - share) >= balance and not repeated:
            squares.append((square, int(group.sum())))
    return squares


@lru_cache(maxsize=1)
def _cascade():
    try:
        from skimage.data import lbp_frontal_face_cascade_filename
        from skimage.feature import Cascade
    except ImportError as error:
        raise ImportError(
            f"The face cascade needs scikit-image ({error}). Install it into the Python that "
            "runs ComfyUI: pip install scikit-image."
        ) from error
    return Cascade(lbp_frontal_face_cascade_filename())


def _window_hits(pixels: np.ndarray) -> np.ndarray:
    """Every window [N, 4] as x0, y0, x1, y1 that the cascade takes for a face, not merged."""
    shortest = min(pixels.shape[:2])
    smallest = max(24, shortest // 10)
    if shortest < smallest:
        return np.empty((0, 4))
    # Windows merge when they share more than the threshold; above 1 none do.
    found = _cascade().detect_multi_scale(
        pixels,
        scale_factor=1.05,
        step_ratio=1,
        min_size=(smallest, smallest),
        max_size=(shortest, shortest),
        min_neighbor_number=1,
        intersection_score_threshold=2,
    )
    corners = [(w["c"], w["r"], w["c"] + w["width"], w["r"] + w["height"]) for w in found]
    return np.array(corners, dtype=float).reshape(-1, 4)


def _overlap(boxes: np.ndarray) -> np.ndarray:
    """Intersection over union [N, N] of boxes [N, 4]."""
    low = np.maximum(boxes[:, None, :2], boxes[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    shared = (high - low).clip(0).prod(-1)
    area = (boxes[:, 2:] - boxes[:, :2]).prod(-1)
    return shared / (area[:, None] + area[None] - shared)


def _one_holds_other(a: Square, b: Square) -> bool:
    """Whether the centre of one square lies in the other."""

    def holds(outer: Square, inner: Square) -> bool:
        x, y = (inner[0] + inner[2]) / 2, (inner[1] + inner[3]) / 2
        return outer[0] < x < outer[2] and outer[1] < y < outer[3]

    return holds(a, b) or holds(b, a)
