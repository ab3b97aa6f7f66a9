"""Faces of other people that are on every machine that has the packages: photos that scikit-image and InsightFace
carry for their own examples. What a stranger looks like to a recogniser is asked of them."""

from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

from PIL import Image
from torch import Tensor

from ..pixels import from_pil
from .recognition import KnownFace, Recogniser

PHOTOS = {
    "skimage": ("data/astronaut.png",),
    "insightface": ("data/images/t1.jpg", "data/images/Tom_Hanks_54745.png"),
}


def photos() -> dict[str, Tensor]:
    """The photos [H, W, 3] in 0..1 of those packages that are installed, which are not imported for it, by name."""
    found = {}
    for package, files in PHOTOS.items():
        spec = find_spec(package)
        for folder in spec.submodule_search_locations or () if spec else ():
            for file in files:
                if (place := Path(folder, file)).is_file():
                    found[place.stem] = from_pil(Image.open(place).convert("RGB"))
    return found


@lru_cache(maxsize=2)
def strangers(recogniser: Recogniser) -> tuple[KnownFace, ...]:
    """Every face of `photos`, looked for once."""
    return tuple(face for photo in photos().values() for face in recogniser.faces(photo))
