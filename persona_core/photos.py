"""From an artist's pictures to the photos that a persona is learned from: masked, cropped, sized, varied."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from . import faces
from .pixels import ROWS
from .recipes import Recipe

BLACK = 0.05  # a mask that is nowhere whiter shows nothing
WHITE = 0.95  # of a picture's numbers: a thing photographed before a white wall has fewer
VARIANTS = 32  # encoded before learning begins, so that no step has to run the VAE
JITTER = 0.2  # brightness, contrast and saturation are multiplied by 1 ± up to this
LONGEST = 2048  # pixels a side of what is only looked at on a node, and of masks for painting
EMPTY = 64, 64  # Load Image's mask of a picture without transparency


@dataclass(frozen=True)
class Photo:
    """One reference: image [H, W, 3] in 0..1 and its soft mask [H, W] in 0..1."""

    image: Tensor
    mask: Tensor

    def crop(self, box: tuple[int, int, int, int]) -> "Photo":
        """The part x0, y0, x1, y1."""
        x0, y0, x1, y1 = box
        return Photo(self.image[y0:y1, x0:x1], self.mask[y0:y1, x0:x1])

    def resized(self, resolution: int, multiple: int) -> "Photo":
        """About resolution x resolution pixels in the photo's own shape, in multiples of `multiple`."""
        height, width = size_for(self.image.shape[0], self.image.shape[1], resolution, multiple)
        image = resize(rearrange(self.image, "h w c -> 1 c h w"), height, width)
        mask = resize(rearrange(self.mask, "h w -> 1 1 h w"), height, width)
        return Photo(rearrange(image, "1 c h w -> h w c"), rearrange(mask, "1 1 h w -> h w"))

    def mirrored(self) -> "Photo":
        return Photo(self.image.flip(1), self.mask.flip(1))


def rgb(images: Tensor) -> Tensor:
    """Pictures [..., H, W, C] of one (grey), two (grey, alpha), three or four channels as [..., H, W, 3]."""
    return images[..., :1].expand(*images.shape[:-1], 3) if images.shape[-1] < 3 else images[..., :3]


def almost_white(images: Tensor) -> Iterable[int]:
    """The numbers of pictures [M, H, W, C] in 0..1 that are almost nothing but white."""
    return [index for index, image in enumerate(images[..., :3]) if share_of_white(image) > WHITE]


def share_of_white(image: Tensor) -> float:
    """Of the numbers of a picture [H, W, C], row by row: a copy of a huge one would be huge."""
    return sum(int((rows >= 1).sum()) for rows in image.split(ROWS)) / image.numel()


def photos(images: Tensor, masks: Tensor | None) -> list[Photo]:
    """Pair pictures [M, H, W, 3] with masks [M, H, W] (one may serve all; None: whole pictures).

    Raises ValueError if sizes do not match or a mask is empty.
    """
    if masks is None:
        masks = torch.ones(images.shape[1:3])
    if masks.ndim == 2:
        masks = masks[None]
    if len(masks) not in (1, len(images)):
        raise ValueError(
            f"There are {len(images)} pictures but {len(masks)} masks. Give one mask for each picture, or one for all."
        )
    if masks.shape[1:] != images.shape[1:3]:
        (height, width), (rows, columns) = images.shape[1:3], masks.shape[1:]
        if (rows, columns) == EMPTY and not masks.any():
            raise ValueError(
                "The mask is empty: Load Image gives such a one for a photo without transparency. Leave the mask away, "
                "or use Face Mask's, or paint one in Load Image's mask editor."
            )
        raise ValueError(
            f"The mask is {columns}x{rows} pixels but the picture is {width}x{height}. Use a mask of the picture's "
            "size, for instance from Face Mask."
        )
    if masks.min() < 0 or masks.max() > 1:  # else no copy of what may be huge
        masks = masks.clamp(0, 1)
    masks = masks.expand(len(images), -1, -1)
    for index, mask in enumerate(masks):
        if mask.max() < BLACK:
            raise ValueError(
                f"The mask of picture {index} is all black: nothing of the picture would be learned. "
                "Paint the face white."
            )
    return [Photo(image, mask) for image, mask in zip(rgb(images), masks)]


def size_for(height: int, width: int, resolution: int, multiple: int) -> tuple[int, int]:
    """A size of the same shape with about resolution^2 pixels, in multiples of `multiple`."""
    scale = resolution / (height * width) ** 0.5
    return tuple(max(multiple, round(side * scale / multiple) * multiple) for side in (height, width))


def resize(pictures: Tensor, height: int, width: int) -> Tensor:
    """[B, C, H, W] in 0..1 to another size."""
    return F.interpolate(pictures, (height, width), mode="bicubic", antialias=True).clamp(0, 1)


def reduced(pictures: Tensor) -> Tensor:
    """[B, H, W, C] in 0..1, no side longer than LONGEST."""
    height, width = pictures.shape[1:3]
    scale = LONGEST / max(height, width)
    if scale >= 1:
        return pictures
    size = [max(1, round(scale * side)) for side in (height, width)]
    small = [resize(rearrange(one, "h w c -> 1 c h w"), *size) for one in pictures]
    return rearrange(torch.cat(small), "b c h w -> b h w c")


def cropped(image: Tensor, mask: Tensor | None, recipe: Recipe, crop: bool, pack: Path | None) -> list[Photo]:
    """What of the pictures is learned: masked (by the face if it is one), and cropped.

    image: [M, H, W, 3] in 0..1. mask: [M, H, W] in 0..1, or None. pack: of InsightFace, or None for the cascade.
    Raises `faces.NoFaceFound`, ValueError.
    """
    image = rgb(image)
    if mask is None and recipe.supercategory.lower() in faces.FACE_WORDS:
        return [face_of(picture, pack, index, crop) for index, picture in enumerate(image)]
    ready = photos(image, mask)
    return [photo.crop(mask_square(photo)) for photo in ready] if crop and mask is not None else ready


def face_of(picture: Tensor, pack: Path | None, index: int, crop: bool) -> Photo:
    """The picture [H, W, 3] with the mask of its largest face; cropped, with a mask of that size alone."""
    size = picture.shape[0], picture.shape[1]
    face = faces.locate_face(picture, pack, picture_index=index)
    photo = Photo(picture, faces.face_mask(face, *size))
    if not crop:
        return photo
    photo = photo.crop(faces.square_crop(face, *size))
    return replace(photo, mask=photo.mask.clone())


def too_small(photos: Iterable[Photo], resolution: int) -> dict[int, int]:
    """The numbers of photos that learning enlarges more than twice, so that blur is learned, and their size."""
    sides = {index: round((photo.mask.numel()) ** 0.5) for index, photo in enumerate(photos)}
    return {index: side for index, side in sides.items() if side < resolution / 2}


def sized(photos: Iterable[Photo], recipe: Recipe, multiple: int) -> list[Photo]:
    """At the recipe's resolution, in multiples of pixels; mirrored copies, if it asks for them, at the end."""
    ready = [photo.resized(recipe.resolution, multiple) for photo in photos]
    return ready + [photo.mirrored() for photo in ready] if recipe.mirror else ready


def mask_square(photo: Photo, margin: float = 0.25) -> tuple[int, int, int, int]:
    """A square around what the mask shows, with a margin on each side, inside the picture."""
    shown = photo.mask > photo.mask.max() / 2
    rows, columns = (shown.any(side).nonzero() for side in (1, 0))
    top, bottom, left, right = rows.min(), rows.max() + 1, columns.min(), columns.max() + 1
    height, width = photo.mask.shape
    side = min(round(float(max(bottom - top, right - left)) * (1 + 2 * margin)), height, width)
    return faces.square_at(float(left + right) / 2, float(top + bottom) / 2, side, height, width)


def augmented(originals: Sequence[Photo], seed: int) -> list[Photo]:
    """VARIANTS random views of the photos by turns, or one of each if they are more; the same for the same seed."""
    generator = torch.Generator().manual_seed(seed)
    return [view(originals[index % len(originals)], generator) for index in range(max(VARIANTS, len(originals)))]


def view(photo: Photo, generator: torch.Generator) -> Photo:
    """A random variant of the photo, in another light or mirrored. Not smaller, as in SeFi-IDE: in the made-up world,
    where a face is few cells then, that cost much likeness (docs/choices.md)."""
    brightness, contrast, saturation = (1 + JITTER * (2 * torch.rand(3, generator=generator) - 1)).tolist()
    photo = Photo(jittered(photo.image, brightness, contrast, saturation), photo.mask)
    return photo.mirrored() if torch.rand((), generator=generator) < 0.5 else photo


def jittered(image: Tensor, brightness: float, contrast: float, saturation: float) -> Tensor:
    """Another light on [H, W, 3] in 0..1; factors of 1 change nothing."""
    image = image * brightness
    image = torch.lerp(image.mean(), image, contrast)
    return torch.lerp(image.mean(-1, keepdim=True), image, saturation).clamp(0, 1)
