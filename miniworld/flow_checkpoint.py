"""The flow painter on disk, and as the host's MODEL, CLIP and VAE; the VAE is the painter's.

One safetensors file holds "transformer.*" and "qwen3_4b.*" under the host's names; of the words only those that
captions use, with their tokens under "words". Matrices are stored in 8 bits (packing.py), the words in fp16.
"""

from __future__ import annotations

import json
from pathlib import Path

import comfy.sd
from comfy.model_patcher import ModelPatcher
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from . import checkpoint, qwen, vae
from .packing import pack, unpack
from .transformer import build_model

FILE = Path(__file__).resolve().parent / "weights/flow_painter.safetensors"
PREFIX = "transformer."


def save(path: Path, transformer: dict[str, Tensor], text: dict[str, Tensor], about: dict) -> None:
    """transformer: its state_dict; text: `QwenEncoder.tensors`; about: what the training says of itself."""
    layers = {name: value for name, value in text.items() if name not in (qwen.WORDS, "words")}
    packed = pack({f"{PREFIX}{name}": value for name, value in transformer.items()} | layers)
    packed |= {qwen.WORDS: text[qwen.WORDS].half(), "words": text["words"]}
    save_file({name: value.contiguous() for name, value in packed.items()}, path, {"miniworld": json.dumps(about)})


def tensors(path: Path = FILE) -> dict[str, Tensor]:
    """What the file holds, by name."""
    with safe_open(path, framework="pt") as file:
        return unpack({key: file.get_tensor(key) for key in file.keys()})  # noqa: SIM118


def load(
    path: Path = FILE, vae_path: Path = vae.FILE, embeddings: str | None = None
) -> tuple[ModelPatcher, comfy.sd.CLIP, comfy.sd.VAE]:
    """MODEL, CLIP, VAE. embeddings: the folder of the host's embeddings."""
    found = tensors(path)
    with safe_open(vae_path, framework="pt") as file:
        scale = json.loads(file.metadata()["vae"])["scale"]
    model, clip = build_model(scale), qwen.build_clip(embeddings)
    mine = {key.removeprefix(PREFIX): value for key, value in found.items() if key.startswith(PREFIX)}
    model.model.diffusion_model.load_state_dict(mine)
    qwen.load_text(clip, {key: value for key, value in found.items() if not key.startswith(PREFIX)})
    return model, clip, checkpoint.load_vae(vae_path)
