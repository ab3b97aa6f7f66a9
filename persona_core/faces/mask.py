"""A soft mask over a head, and a square around it."""

import numpy as np
import torch
from torch import Tensor

from .detection import Face, resized

# InsightFace's order of its 106 landmarks.
EYES, MOUTH = np.r_[33:43, 87:97], np.r_[52:72]


def face_mask(face: Face, height: int, width: int, softness: float = 0.1, grow: float = 1.0) -> Tensor:
    """A soft mask [H, W] in 0..1 over the whole head, hair and chin included.

    softness: width of the edge as a share of the face's size; 0 for a hard edge.
    grow: size of the mask, 1 being the head's.
    """
    from scipy.ndimage import gaussian_filter
    from skimage.draw import polygon2mask

    outline = head_outline(face)
    centre = (outline.min(0) + outline.max(0)) / 2
    outline = centre + grow * (outline - centre)
    # A blurred edge has no detail, so a small mask enlarged is as good and far cheaper to blur.
    scale = min(1.0, 768 / max(height, width))
    rows, cols = max(1, round(height * scale)), max(1, round(width * scale))
    corners = outline[:, ::-1] * (rows / height, cols / width) - 0.5
    mask = polygon2mask((rows, cols), corners).astype(np.float32)
    if softness > 0:
        mask = gaussian_filter(mask, softness * scale * face.area**0.5 / 2, mode="nearest")
    return resized(torch.from_numpy(mask)[..., None], height, width)[..., 0].clamp_(0, 1)


def head_outline(face: Face) -> np.ndarray:
    """An outline [N, 2] round the head. Eyes lie half-way from chin to crown, so the chin tells the crown."""
    if face.landmarks is None:
        x0, y0, x1, y1 = face.box
        eye_line = y0 + 0.4 * (y1 - y0)
        half = np.array([0.65 * (x1 - x0), 1.15 * (y1 - eye_line)])
        turn = np.linspace(0, 2 * np.pi, 64, endpoint=False)
        return np.array([(x0 + x1) / 2, eye_line]) + half * np.stack([np.cos(turn), np.sin(turn)], -1)
    from scipy.spatial import ConvexHull

    eyes, mouth = face.landmarks[EYES].mean(0), face.landmarks[MOUTH].mean(0)
    down = (mouth - eyes) / np.linalg.norm(mouth - eyes)
    below_eyes = (face.landmarks - eyes) @ down
    points = np.concatenate([face.landmarks, face.landmarks - 2 * below_eyes[:, None] * down])
    return eyes + 1.15 * (points[ConvexHull(points).vertices] - eyes)


def square_crop(face: Face, height: int, width: int, margin: float = 0.5) -> tuple[int, int, int, int]:
    """A square (x0, y0, x1, y1) of whole pixels round the head, inside the picture and never larger than it.

    margin: space on each side, as a share of the face's longer side.
    """
    x0, y0, x1, y1 = face.box
    side = max(1, min(round((1 + 2 * margin) * max(x1 - x0, y1 - y0)), height, width))
    # Slightly above the middle of the face, for there is more hair above it than neck below.
    return square_at((x0 + x1) / 2, y0 + 0.45 * (y1 - y0), side, height, width)


def square_at(x: float, y: float, side: int, height: int, width: int) -> tuple[int, int, int, int]:
    """The square (x0, y0, x1, y1) of `side` pixels round x, y, shifted to stay inside the picture."""
    left = min(max(round(x - side / 2), 0), width - side)
    top = min(max(round(y - side / 2), 0), height - side)
    return left, top, left + side, top + side
