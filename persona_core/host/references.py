"""From an artist's pictures to the references that a persona is learned from."""

from pathlib import Path

import torch
from torch import Tensor

from .. import faces
from .learner import Recipe
from .memory import borrowed
from .pictures import Photo, photos, rgb


def prepare(
    image: Tensor, mask: Tensor | None, recipe: Recipe, crop: bool, multiple: int, pack: Path | None
) -> list[Photo]:
    """Photos as learning takes them: masked (by the face if it is one), cropped, sized, mirrored copies at the end.

    image: [M, H, W, 3] in 0..1. mask: [M, H, W] in 0..1, or None. multiple: of pixels, for the sizes of photos.
    pack: of InsightFace, or None for the cascade.
    Raises `faces.NoFaceFound`, ValueError.
    """
    image = rgb(image)
    if mask is None and recipe.supercategory.lower() in faces.FACE_WORDS:
        found = [faces.locate_face(picture, pack, picture_index=index) for index, picture in enumerate(image)]
        size = image.shape[1:3]
        ready = [Photo(picture, faces.face_mask(face, *size)) for picture, face in zip(image, found)]
        boxes = [faces.square_crop(face, *size) for face in found]
    else:
        ready = photos(image, mask)
        boxes = [mask_square(photo) for photo in ready] if mask is not None else None
    if crop and boxes:
        ready = [photo.crop(box) for photo, box in zip(ready, boxes)]
    ready = [photo.resized(recipe.resolution, multiple) for photo in ready]
    return ready + [photo.mirrored() for photo in ready] if recipe.mirror else ready


def mask_square(photo: Photo, margin: float = 0.25) -> tuple[int, int, int, int]:
    """A square around what the mask shows, with a margin on each side, inside the picture."""
    rows, columns = (photo.mask > photo.mask.max() / 2).nonzero(as_tuple=True)
    top, bottom, left, right = rows.min(), rows.max() + 1, columns.min(), columns.max() + 1
    height, width = photo.mask.shape
    side = min(round(float(max(bottom - top, right - left)) * (1 + 2 * margin)), height, width)
    return faces.square_at(float(left + right) / 2, float(top + bottom) / 2, side, height, width)


def embed(clip_vision, references: list[Photo]) -> Tensor:
    """Image embeddings [M, E] of the photos. An encoder that was not loaded before is not after."""
    with borrowed(clip_vision.patcher):
        return torch.cat(
            [clip_vision.encode_image(photo.image[None])["image_embeds"].float().cpu() for photo in references]
        )
