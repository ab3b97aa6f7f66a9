"""Face Mask: where the face is, as a soft mask, a square crop and a picture with boxes."""

from __future__ import annotations

from pathlib import Path

import comfy.utils
import folder_paths
import numpy as np
import torch
from comfy_api.latest import io
from einops import rearrange
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from ..persona_core import faces
from ..persona_core.photos import rgb
from . import notices, sockets

NO_FACE = ["error", "whole picture", "skip picture"]
CHOSEN, OTHER = (64, 220, 96), (255, 160, 32)


def insightface_folders() -> list[Path]:
    """ComfyUI's `models/insightface` folders, those of extra_model_paths.yaml included."""
    registered = folder_paths.folder_names_and_paths.get("insightface", ([],))[0]
    return list(dict.fromkeys(map(Path, [Path(folder_paths.models_dir, "insightface"), *registered])))


def crop_square(image: Tensor, square: tuple[int, int, int, int], size: int) -> Tensor:
    """The square (x0, y0, x1, y1) of image [H, W, 3], at size x size pixels: [size, size, 3]."""
    x0, y0, x1, y1 = square
    piece = rearrange(image[y0:y1, x0:x1], "h w c -> 1 c h w")
    return rearrange(comfy.utils.common_upscale(piece, size, size, "lanczos", "disabled"), "1 c h w -> h w c")


def draw_boxes(image: Tensor, found: list[faces.Face], chosen: faces.Face | None) -> Tensor:
    """image [H, W, 3] in 0..1 with each face's box and index; the chosen one in green."""
    height, width = image.shape[:2]
    line, letter = max(2, min(height, width) // 250), max(12, min(height, width) // 25)
    picture = Image.fromarray((image.numpy() * 255).round().clip(0, 255).astype(np.uint8))
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(letter)
    for index, face in enumerate(found):
        color = CHOSEN if face is chosen else OTHER
        corner = max(face.box[0], 0) + 2 * line, max(face.box[1], 0) + line
        draw.rectangle(face.box, outline=color, width=line)
        draw.text(corner, str(index), fill=color, font=font, stroke_width=line // 2, stroke_fill=(0, 0, 0))
    return torch.from_numpy(np.asarray(picture).astype(np.float32) / 255)


def report(hits: int, pictures: int, pack: Path | None, unusable: bool) -> str:
    """What was found, and with which detector, short enough to be read on the node. unusable: a pack lies there that InsightFace cannot load."""
    count = f"Face in {hits} of {pictures} picture{'s' * (pictures != 1)}"
    if pack is not None:
        return f"{count}, by InsightFace ({pack.name})."
    if unusable:
        return f"{count}, by the built-in cascade: InsightFace cannot be imported, see the log."
    return f"{count}, by the built-in cascade. An InsightFace pack finds more."


class FaceMask(io.ComfyNode):
    """IMAGE [B, H, W, 3] to a soft head mask, a square crop and boxes."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PersonaFaceMask",
            display_name="Face Mask",
            category=sockets.CATEGORY,
            description="Finds a face in each picture: a soft mask over the head, a square crop, boxes.",
            inputs=[
                io.Image.Input("image", tooltip="The photo, or several photos as one batch."),
                io.Int.Input(
                    "face_index",
                    default=0,
                    min=0,
                    max=63,
                    tooltip=(
                        "Which face, where there are several: 0 is the largest, 1 the next. "
                        "The boxes picture shows the numbers."
                    ),
                ),
                io.Combo.Input(
                    "detector",
                    options=list(faces.DETECTORS),
                    default="auto",
                    tooltip=(
                        "auto: InsightFace where its model pack lies in models/insightface, else the cascade. "
                        "insightface: finds turned and small faces too, and the mask follows the face. "
                        "cascade: needs no files; finds upright faces that look at the camera."
                    ),
                ),
                io.Float.Input(
                    "grow",
                    default=1.0,
                    min=0.5,
                    max=2.0,
                    step=0.05,
                    tooltip=(
                        "How far the mask grows beyond the face. 1 takes in hair and chin, lower keeps to the "
                        "face, higher takes in long hair and neck."
                    ),
                ),
                io.Int.Input(
                    "crop_size",
                    default=512,
                    min=64,
                    max=2048,
                    step=8,
                    tooltip=("Width and height of the cropped face in pixels."),
                ),
                io.Combo.Input(
                    "no_face",
                    options=NO_FACE,
                    default="error",
                    tooltip=(
                        "What to do with a picture that has no such face. error: stop and say which picture. "
                        "whole picture: a white mask and the middle of the picture. "
                        "skip picture: leave it out of all outputs."
                    ),
                ),
            ],
            outputs=[
                io.Mask.Output(display_name="mask", tooltip="White over the head, fading softly to black."),
                io.Image.Output(display_name="face", tooltip="The face and some space, as a square."),
                io.Image.Output(
                    display_name="boxes",
                    tooltip=("The pictures with a box and a number at each face. The chosen face is green."),
                ),
            ],
        )

    @classmethod
    def validate_inputs(cls, detector: str, no_face: str) -> bool | str:
        return sockets.check_choices(detector=(detector, faces.DETECTORS), no_face=(no_face, NO_FACE))

    @classmethod
    def execute(
        cls, image: Tensor, face_index: int, detector: str, grow: float, crop_size: int, no_face: str
    ) -> io.NodeOutput:
        folders = insightface_folders()
        pack = faces.choose_pack(folders, detector)
        height, width = image.shape[1:3]
        progress = comfy.utils.ProgressBar(len(image))
        masks, crops, boxes, hits = [], [], [], 0
        notices.warn_of_white(image)
        for index, picture in enumerate(rgb(image).float().cpu()):
            found = faces.detect_faces(picture, pack)
            progress.update(1)
            try:
                face = faces.pick_face(found, picture, face_index, index, pack)
            except faces.NoFaceFound as error:
                if no_face == "skip picture":
                    continue
                if no_face == "error":
                    raise faces.NoFaceFound(
                        f"{error} To go on without it, set no_face to whole picture or skip picture."
                    ) from None
                face = None
                masks.append(torch.ones(height, width))
                square = faces.square_at(width / 2, height / 2, min(height, width), height, width)
            else:
                hits += 1
                masks.append(faces.face_mask(face, height, width, grow=grow))
                square = faces.square_crop(face, height, width)
            crops.append(crop_square(picture, square, crop_size))
            boxes.append(draw_boxes(picture, found, face))
        if not masks:
            raise faces.NoFaceFound(
                f"No picture of the {len(image)} has a face number {face_index}, so "
                "nothing is left. Use other photos, or set no_face to whole picture."
            )
        unusable = pack is None and detector == "auto" and faces.find_insightface_pack(folders) is not None
        said = notices.line(report(hits, len(image), pack, unusable))
        return io.NodeOutput(torch.stack(masks), torch.stack(crops), torch.stack(boxes), ui=said)


NODES = [FaceMask]
