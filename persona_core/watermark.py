"""A watermark in a picture's pixels that says one thing, "generated", by blind-watermark where that is installed.

It is the same word in every picture, of nobody and of no machine. It is written into a small copy, and what that
changes is enlarged to the picture's size: so it is found at any size, but not in a part of the picture.
"""

import hashlib
import io
import sys
from dataclasses import dataclass
from multiprocessing import get_start_method, set_start_method
from threading import Lock
from typing import Any

import numpy as np
from PIL import Image

from .provenance import FORMATS

# Chosen by a hash, without regard to pictures: in one that has it not, so many bits agree once in 100 million.
WORD = np.unpackbits(np.frombuffer(hashlib.sha256(b"ComfyUI-Persona: generated").digest()[:8], np.uint8))
AGREE = 54  # of its bits
SIDE = 264  # of the small copy: 33 blocks of 8 pixels, so that each of the 64 bits lies in every column
STEPS = 18, 10  # of what the library changes; its own are twice as large, and can be seen
SMALLEST, LARGEST = 256, 2**26  # pixels a side that it needs, pixels in all that are unpacked
INSTALL = "pip install blind-watermark, with the Python that runs ComfyUI"
IMPORTING = Lock()  # the server checks a job while another runs


@dataclass(frozen=True)
class Sought:
    """agreeing: the bits of WORD that were found in a picture. unread: why it was not looked for, or ""."""

    agreeing: int = 0
    unread: str = ""

    @property
    def found(self) -> bool:
        return self.agreeing >= AGREE


def library() -> type | None:
    """blind-watermark's class; None where it is missing. To be imported it wants to be the only one to have said how
    Python starts processes, which it does not need here: what was said before holds again."""
    with IMPORTING:
        if loaded := sys.modules.get("blind_watermark"):
            return loaded.WaterMarkCore
        before = get_start_method(allow_none=True)
        try:
            set_start_method(None, force=True)
            from blind_watermark import WaterMarkCore
        except Exception:  # OpenCV's native library may fail in any way
            return None
        finally:
            set_start_method(before, force=True)
        return WaterMarkCore


def needed() -> type:
    """The library's class. Raises ValueError where it is missing."""
    found = library()
    if found is None:
        raise ValueError(
            f"watermark is on, but blind-watermark is missing or does not load. Install it ({INSTALL}), or turn "
            "watermark off."
        )
    return found


def blocks() -> Any:
    """The library's own, for one picture."""
    core = needed()()
    core.d1, core.d2 = STEPS
    return core


def marked(picture: Image.Image) -> Image.Image:
    """An RGB or RGBA picture with the watermark; what is transparent stays so. Raises ValueError."""
    core = blocks()
    if min(picture.size) < SMALLEST:
        raise ValueError(
            f"The picture is {picture.width} x {picture.height}, and a watermark needs {SMALLEST} pixels a side. "
            "Enlarge it, or turn watermark off. Then run again: nothing is painted anew."
        )
    small = small_copy(picture)
    core.read_img_arr(small)
    core.read_wm(WORD)
    changes = (core.embed() - small)[..., ::-1].astype(np.float32)
    channels = list(picture.split())
    for number in range(3):
        change = Image.fromarray(np.ascontiguousarray(changes[..., number]))
        enlarged = np.asarray(change.resize(picture.size, Image.Resampling.BICUBIC))
        changed = (np.asarray(channels[number]) + enlarged).round().clip(0, 255)
        channels[number] = Image.fromarray(changed.astype(np.uint8))
    return Image.merge(picture.mode, channels)


def small_copy(picture: Image.Image) -> np.ndarray:
    """[SIDE, SIDE, BGR], as OpenCV has it, whatever the picture's shape."""
    small = picture.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    return np.ascontiguousarray(np.asarray(small)[..., ::-1])


def agreeing(picture: Image.Image) -> int:
    """How many bits of the word stand in a picture; about half of them in any that has none."""
    read = blocks().extract(small_copy(picture), len(WORD)) > 0.5
    return int((read == WORD).sum())


def look(content: bytes) -> Sought:
    """What there is of it in a picture's file, whoever made that."""
    if library() is None:
        return Sought(unread=INSTALL)
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as picture:
            if picture.width * picture.height > LARGEST:
                return Sought(unread=f"it has more than {LARGEST // 10**6} million pixels")
            return Sought(agreeing(picture))
    except Exception:  # Pillow's readers fail in many ways
        return Sought(unread="its pixels cannot be read")
