"""Photos from files, and what is said of those that somebody gave."""

import io
from collections.abc import Iterable, Sequence
from contextlib import suppress

import numpy as np
import torch
from comfy_api.latest import InputImpl, Types
from PIL import Image, ImageOps
from torch import Tensor

from ..photos import Photo, almost_white, too_small
from .messages import warn


def warn_of_white(images: Tensor) -> None:
    for index in almost_white(images):
        warn(
            f"Picture {index} is almost nothing but white. Some ComfyUIs read grey PNG files of 16 bit so: if it is "
            "one, save it with 8 bit."
        )


def warn_of_blur(photos: Sequence[Photo], resolution: int) -> None:
    for index, side in too_small(photos, resolution).items():
        warn(
            f"What is learned of picture {index} is about {side} pixels a side, and is enlarged to {resolution}: it "
            "will be painted as blurred as it looks then. Use a photo that shows more of them, or a lower resolution."
        )


def opened(files: Iterable[bytes]) -> Tensor:
    """Pictures' files as Load Image gives them, [M, H, W, 3] in 0..1. Raises ValueError with a sentence, as where they
    are of several sizes, which no batch can be."""
    pictures = [decoded(content) for content in files]
    height, width = pictures[0].shape[:2]
    for index, picture in enumerate(pictures):
        if picture.shape[:2] != (height, width):
            rows, columns = picture.shape[:2]
            raise ValueError(
                f"Picture {index} is {columns}x{rows} pixels but the first one is {width}x{height}. Several pictures "
                "of one person must be of one size."
            )
    return torch.stack(pictures)


def decoded(content: bytes) -> Tensor:
    """[H, W, 3], upright: of the same file the numbers that Load Image gives, or what is learned would be another.
    Raises ValueError with a sentence."""
    if (picture := by_newer_hosts(content)) is not None:
        return picture
    try:
        with Image.open(io.BytesIO(content)) as file:
            image = ImageOps.exif_transpose(file)
            if image.mode == "I":
                image = image.point(lambda value: value * (1 / 255))
            return torch.from_numpy(np.array(image.convert("RGB"))).float() / 255
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"The photo is no picture that can be read ({error}).") from error


def by_newer_hosts(content: bytes) -> Tensor | None:
    """As they read pictures, which is as films; None in others, and for what is none."""
    if "alpha" not in Types.VideoComponents.__dataclass_fields__:
        return None
    with suppress(Exception):  # whatever its libraries raise
        images = InputImpl.VideoFromFile(io.BytesIO(content)).get_components().images
        if len(images):
            return images[0, ..., :3].float()
    return None
