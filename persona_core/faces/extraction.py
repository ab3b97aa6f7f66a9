"""From a batch of pictures to the face of each: a soft mask, a square crop, a picture with boxes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from ..pixels import from_pil, to_pil, write
from .detection import Face, NoFaceFound, detect_faces, pick_face
from .mask import face_mask, square_at, square_crop

NO_FACE = STOP, WHOLE, SKIP = "error", "whole picture", "skip picture"  # what to do with a picture without a face
CHOSEN, OTHER = (64, 220, 96), (255, 160, 32)


@dataclass(frozen=True)
class ExtractedFaces:
    """masks: [B, H, W] in 0..1. crops: [B, size, size, 3]. boxes: [B, H, W, 3]. found: in how many pictures."""

    masks: Tensor
    crops: Tensor
    boxes: Tensor
    found: int


def extract_faces(
    images: Tensor,
    pack: Path | None,
    *,
    face_index: int = 0,
    grow: float = 1.0,
    crop_size: int = 512,
    no_face: str = STOP,
    on_picture: Callable[[], None] = lambda: None,
) -> ExtractedFaces:
    """The face number `face_index` of each picture [M, H, W, 3] in 0..1.

    pack: see `detect_faces`. grow: see `face_mask`. crop_size: pixels. no_face: one of NO_FACE; a skipped picture is in
    no output. on_picture: called after each. Raises NoFaceFound, and what `detect_faces` raises.
    """
    count, height, width, _ = images.shape
    # Written into one by one: a list of all, put together in the end, would be there twice.
    masks, boxes = torch.empty(count, height, width), torch.empty(count, height, width, 3)
    crops, kept, found = torch.empty(count, crop_size, crop_size, 3), 0, 0
    chosen: Face | None
    for index, picture in enumerate(images):
        faces = detect_faces(picture, pack)
        on_picture()
        try:
            chosen = pick_face(faces, picture, face_index, index, pack)
        except NoFaceFound as error:
            if no_face == SKIP:
                continue
            if no_face == STOP:
                raise NoFaceFound(f"{error} To go on without it, set no_face to {WHOLE} or {SKIP}.") from None
            masks[kept] = 1
            square, chosen = square_at(width / 2, height / 2, min(height, width), height, width), None
        else:
            masks[kept] = face_mask(chosen, height, width, grow=grow)
            square = square_crop(chosen, height, width)
            found += 1
        crops[kept] = crop_square(picture, square, crop_size)
        write(draw_boxes(picture, faces, chosen), boxes[kept])
        kept += 1
    if not kept:
        raise NoFaceFound(
            f"No picture of the {len(images)} has a face number {face_index}, so nothing is left. Use other photos, or "
            f"set no_face to {WHOLE}."
        )
    return ExtractedFaces(masks[:kept], crops[:kept], boxes[:kept], found)


def crop_square(image: Tensor, square: tuple[int, int, int, int], size: int) -> Tensor:
    """The square (x0, y0, x1, y1) of image [H, W, 3], at size x size pixels: [size, size, 3]."""
    x0, y0, x1, y1 = square
    return from_pil(to_pil(image[y0:y1, x0:x1]).resize((size, size), Image.Resampling.LANCZOS))


def draw_boxes(image: Tensor, faces: Sequence[Face], chosen: Face | None) -> Image.Image:
    """image [H, W, 3] in 0..1 with each face's box and index; the chosen one in green."""
    height, width = image.shape[:2]
    line, letter = max(2, min(height, width) // 250), max(12, min(height, width) // 25)
    picture = to_pil(image)
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(letter)
    for index, face in enumerate(faces):
        color = CHOSEN if face is chosen else OTHER
        corner = max(face.box[0], 0) + 2 * line, max(face.box[1], 0) + line
        draw.rectangle(face.box, outline=color, width=line)
        draw.text(corner, str(index), fill=color, font=font, stroke_width=line // 2, stroke_fill=(0, 0, 0))
    return picture
