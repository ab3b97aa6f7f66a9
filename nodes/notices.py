"""What a node says when it is done: a line on it in the graph editor that stays until it runs again."""

from collections.abc import Sequence

from torch import Tensor

from ..persona_core.host.messages import warn
from ..persona_core.photos import Photo, almost_white, too_small

LINE = "persona_notice"  # in the ui output; web/js/notices.js shows it


def line(text: str) -> dict[str, tuple[str]]:
    """The part of a node's ui output that says it."""
    return {LINE: (text,)}


def warn_of_white(images: Tensor) -> None:
    for index in almost_white(images):
        warn(
            f"Picture {index} is almost nothing but white. Some ComfyUIs read grey PNG files of 16 bit so: if it is one, "
            "save it with 8 bit."
        )


def warn_of_blur(photos: Sequence[Photo], resolution: int) -> None:
    for index, side in too_small(photos, resolution).items():
        warn(
            f"What is learned of picture {index} is about {side} pixels a side, and is enlarged to {resolution}: it "
            "will be painted as blurred as it looks then. Use a photo that shows more of them, or a lower resolution."
        )
