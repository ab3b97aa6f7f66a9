"""Where this ComfyUI keeps InsightFace's model packs."""

from pathlib import Path

import folder_paths
from torch import Tensor

from ..faces import choose_pack


def insightface_folders() -> list[Path]:
    """ComfyUI's `models/insightface` folders, those of extra_model_paths.yaml included."""
    registered = folder_paths.folder_names_and_paths.get("insightface", ([],))[0]
    return list(dict.fromkeys(map(Path, [Path(folder_paths.models_dir, "insightface"), *registered])))


def pack_without(mask: Tensor | None) -> Path | None:
    """The model pack to find a face with where no mask says where it is; None for the cascade, or with a mask."""
    return choose_pack(insightface_folders()) if mask is None else None
