"""Face Mask: where the face is, as a soft mask, a square crop and a picture with boxes."""

from pathlib import Path

import comfy.utils
from comfy_api.latest import io
from torch import Tensor

from ..persona_core import faces
from ..persona_core.faces.extraction import NO_FACE, extract_faces
from ..persona_core.host.insightface import insightface_folders
from ..persona_core.host.photos import warn_of_white
from ..persona_core.photos import rgb
from . import notices, sockets


class FaceMask(io.ComfyNode):
    """IMAGE [B, H, W, 3] to a soft head mask, a square crop and boxes."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PersonaFaceMask",
            display_name="Face Mask",
            **sockets.also_found_as("face detection, face crop, head, portrait, InsightFace"),
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
                    options=list(NO_FACE),
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
        warn_of_white(image)
        progress = comfy.utils.ProgressBar(len(image))
        extracted = extract_faces(
            rgb(image).float().cpu(),
            pack,
            face_index=face_index,
            grow=grow,
            crop_size=crop_size,
            no_face=no_face,
            on_picture=lambda: progress.update(1),
        )
        unusable = pack is None and detector == "auto" and faces.find_insightface_pack(folders) is not None
        said = notices.line(report(extracted.found, len(image), pack, unusable))
        return io.NodeOutput(extracted.masks, extracted.crops, extracted.boxes, ui=said)


def report(found: int, pictures: int, pack: Path | None, unusable: bool) -> str:
    """What was found, and with which detector, short enough to be read on the node. unusable: a pack lies there that InsightFace cannot load."""
    count = f"Face in {found} of {pictures} picture{'s' * (pictures != 1)}"
    if pack is not None:
        return f"{count}, by InsightFace ({pack.name})."
    if unusable:
        return f"{count}, by the built-in cascade: InsightFace cannot be imported, see the log."
    return f"{count}, by the built-in cascade. An InsightFace pack finds more."


NODES = [FaceMask]
