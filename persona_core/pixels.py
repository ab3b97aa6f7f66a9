"""Pictures [H, W, C] in 0..1 to and from bytes and Pillow, with no copy of a large one but the result."""

import numpy as np
import torch
from PIL import Image
from torch import Tensor

ROWS = 256  # at a time


def to_bytes(image: Tensor) -> np.ndarray:
    """uint8 [H, W, C] of a picture in 0..1; what is no number is black."""
    found = np.empty(tuple(image.shape), np.uint8)
    for first in range(0, len(image), ROWS):
        rows = image[first : first + ROWS].detach().float().cpu().nan_to_num()
        found[first : first + ROWS] = (rows * 255).round_().clamp_(0, 255).byte().numpy()
    return found


def to_pil(image: Tensor) -> Image.Image:
    return Image.fromarray(to_bytes(image))


def from_pil(picture: Image.Image) -> Tensor:
    return write(picture, torch.empty(picture.height, picture.width, len(picture.getbands())))


def write(picture: Image.Image, place: Tensor) -> Tensor:
    """The picture's numbers into place [H, W, C], which is given back."""
    for first in range(0, picture.height, ROWS):
        rows = picture.crop((0, first, picture.width, min(first + ROWS, picture.height)))
        place[first : first + ROWS] = torch.from_numpy(np.array(rows)).reshape(rows.height, rows.width, -1)
        place[first : first + ROWS].div_(255)
    return place
