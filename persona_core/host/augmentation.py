"""More views of a photo: other light, mirrored, smaller (Beyond Inserting, section 4.1)."""

from collections.abc import Sequence

import torch
from torch import Tensor

from .pictures import Photo, resize

VARIANTS = 32  # encoded before learning begins, so that no step has to run the VAE
SMALLEST = 0.1  # of the photo's sides
JITTER = 0.2  # brightness, contrast and saturation are multiplied by 1 ± up to this
AROUND = 0.5  # the grey that a smaller photo lies on; its mask is 0 there


def augmented(photos: Sequence[Photo], seed: int) -> list[Photo]:
    """VARIANTS random views of the photos by turns, or one of each if they are more; the same for the same seed."""
    generator = torch.Generator().manual_seed(seed)
    return [view(photos[index % len(photos)], generator) for index in range(max(VARIANTS, len(photos)))]


def view(photo: Photo, generator: torch.Generator) -> Photo:
    """A random variant of the photo, of its size."""
    brightness, contrast, saturation = (1 + JITTER * (2 * torch.rand(3, generator=generator) - 1)).tolist()
    photo = Photo(jittered(photo.image, brightness, contrast, saturation), photo.mask)
    if torch.rand((), generator=generator) < 0.5:
        photo = photo.mirrored()
    scale, across, down = torch.rand(3, generator=generator).tolist()
    return shrunk(photo, SMALLEST + (1 - SMALLEST) * scale, across, down)


def jittered(image: Tensor, brightness: float, contrast: float, saturation: float) -> Tensor:
    """Another light on [H, W, 3] in 0..1; factors of 1 change nothing."""
    image = image * brightness
    image = torch.lerp(image.mean(), image, contrast)
    return torch.lerp(image.mean(-1, keepdim=True), image, saturation).clamp(0, 1)


def shrunk(photo: Photo, scale: float, across: float, down: float) -> Photo:
    """The photo at `scale` on an empty canvas of its size; across and down in 0..1 say where on it."""
    height, width = photo.mask.shape
    rows, columns = (max(1, round(side * scale)) for side in (height, width))
    top, left = round((height - rows) * down), round((width - columns) * across)
    place = slice(top, top + rows), slice(left, left + columns)
    image, mask = torch.full_like(photo.image, AROUND), torch.zeros_like(photo.mask)
    image[place] = resize(photo.image.permute(2, 0, 1)[None], rows, columns)[0].permute(1, 2, 0)
    mask[place] = resize(photo.mask[None, None], rows, columns)[0, 0]
    return Photo(image, mask)
