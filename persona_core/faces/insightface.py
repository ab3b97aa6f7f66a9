"""Faces with InsightFace, from a model pack that already lies on disk. Nothing is ever downloaded."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

PREFERENCE = ("buffalo_l", "antelopev2")
DETECTOR_FILES = ("det*.onnx", "scrfd*.onnx")
RECOGNITION = "detection", "recognition"

INSTALL_ADVICE = (
    'Install it into the Python that runs ComfyUI: pip install "insightface>=2.0". Where onnxruntime-gpu is '
    "installed, use pip install --no-deps insightface, then pip install onnx opencv-python tqdm requests "
    "scipy scikit-image, because onnxruntime and onnxruntime-gpu break each other."
)


def find_insightface_pack(folders: Sequence[Path]) -> Path | None:
    """The best of `insightface_packs`, or None."""
    return next(iter(insightface_packs(folders)), None)


def insightface_packs(folders: Sequence[Path]) -> list[Path]:
    """The model packs (folders with a detection model) under the given `models/insightface` folders, best first.

    A pack may lie at models/<name>, one level deeper as the antelopev2 zip unpacks, or at <name>.
    The order is buffalo_l, antelopev2, then any other; among equals the earlier folder wins, then the name.
    """

    def rank(pack: Path) -> int:
        names = (pack.name, pack.parent.name)
        return next((i for i, name in enumerate(PREFERENCE) if name in names), len(PREFERENCE))

    packs = [
        pack
        for folder in map(Path, folders)
        for place in ("models/*", "models/*/*", "*")
        for pack in sorted(folder.glob(place))
        if _has_detector(pack)
    ]
    return sorted(packs, key=rank)


def _has_detector(folder: Path) -> bool:
    return any(file.is_file() for pattern in DETECTOR_FILES for file in folder.glob(pattern))


def import_face_analysis() -> type:
    """InsightFace's FaceAnalysis class. Raises ImportError that says what to install."""
    try:
        from insightface.app import FaceAnalysis
    except ImportError as error:
        raise ImportError(f"InsightFace cannot be imported ({error}). {INSTALL_ADVICE}") from error
    return FaceAnalysis


def analysed_faces(pixels: np.ndarray, pack: Path) -> list[dict]:
    """InsightFace's faces of uint8 RGB pixels [H, W, 3], each with bbox [4], det_score and, where the pack
    has the model, landmark_2d_106 [106, 2].

    Raises ImportError where InsightFace is missing, ValueError where the pack cannot be read.
    """
    return _analysis(pack, ("detection", "landmark_2d_106")).get(np.ascontiguousarray(pixels[..., ::-1]))


def recognised_faces(pixels: np.ndarray, pack: Path) -> list[dict]:
    """As `analysed_faces`, each with its embedding [D], of the face as its five landmarks align it."""
    return _analysis(pack, RECOGNITION).get(np.ascontiguousarray(pixels[..., ::-1]))


def recognises(pack: Path) -> bool:
    """Whether there is a recognition model in the pack."""
    return "recognition" in _analysis(pack, RECOGNITION).models


@lru_cache(maxsize=4)
def _analysis(pack: Path, modules: tuple[str, ...]):
    face_analysis = import_face_analysis()
    try:
        # InsightFace takes an existing folder as it is; only a mere name would make it download.
        analysis = face_analysis(
            name=str(pack.resolve(strict=True)), providers=["CPUExecutionProvider"], allowed_modules=list(modules)
        )
    except Exception as error:  # ONNX Runtime's errors have no common class but this
        raise ValueError(
            f"The InsightFace model pack in {pack} cannot be read ({error or type(error).__name__}). "
            "Unzip or download it again, or take it away: then what is built in finds the faces."
        ) from error
    analysis.prepare(ctx_id=-1)
    return analysis
