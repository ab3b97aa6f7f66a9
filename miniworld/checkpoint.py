"""The painter on disk, and as the host's MODEL, CLIP and VAE.

One safetensors file holds "unet.*" and "clip_l.*" under the host's names; of the words only those that captions use,
with their tokens under "words". The UNet's matrices are stored in 8 bits (packing.py), the text encoder in fp16.
"""

from __future__ import annotations

import json
from pathlib import Path

import comfy.sd
from comfy.model_patcher import ModelPatcher
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from . import vae
from .packing import pack, unpack
from .text import build_clip, load_text
from .unet import build_model

FILE = Path(__file__).resolve().parent / "weights/painter.safetensors"


def save(path: Path, unet: dict[str, Tensor], text: dict[str, Tensor], about: dict) -> None:
    """unet: the UNet's state_dict; text: `TextEncoder.tensors`; about: what the training says of itself."""
    tensors = pack({f"unet.{name}": value for name, value in unet.items()})
    tensors |= {name: value.half() if value.is_floating_point() else value for name, value in text.items()}
    save_file(tensors, path, {"miniworld": json.dumps(about)})


def about(path: Path = FILE) -> dict:
    with safe_open(path, framework="pt") as file:
        return json.loads(file.metadata()["miniworld"])


def load_vae(path: Path = vae.FILE) -> comfy.sd.VAE:
    first_stage, found = vae.load(path)
    config = {"params": {"ddconfig": found["ddconfig"], "embed_dim": 4}}
    return comfy.sd.VAE(sd=first_stage.state_dict(), config=config)


def load(
    path: Path = FILE, vae_path: Path = vae.FILE, embeddings: str | None = None
) -> tuple[ModelPatcher, comfy.sd.CLIP, comfy.sd.VAE]:
    """MODEL, CLIP, VAE. embeddings: the folder of the host's embeddings."""
    with safe_open(path, framework="pt") as file:
        tensors = unpack({key: file.get_tensor(key) for key in file.keys()})  # noqa: SIM118
    with safe_open(vae_path, framework="pt") as file:
        scale = json.loads(file.metadata()["vae"])["scale"]
    model, clip = build_model(scale), build_clip(embeddings)
    unet = {key.removeprefix("unet."): value for key, value in tensors.items() if key.startswith("unet.")}
    model.model.diffusion_model.load_state_dict(unet)
    load_text(clip, {key: value for key, value in tensors.items() if key == "words" or key.startswith("clip_l.")})
    return model, clip, load_vae(vae_path)
