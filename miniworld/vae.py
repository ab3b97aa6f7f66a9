"""The VAE: the host's own AutoencoderKL, factor 8, 4 channels, but small.

Shapes: pictures [B, 3, H, W] in 0..1, latents [B, 4, H / 8, W / 8] of about unit variance.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from comfy.ldm.models.autoencoder import AutoencoderKL
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

# 64 channels at full size: the host normalizes in 32 groups, and groups of a single channel lose a picture's mean
# colour.
DDCONFIG = dict(
    double_z=True, z_channels=4, resolution=128, in_channels=3, out_ch=3, ch=64, ch_mult=[1, 1, 2, 2],
    num_res_blocks=1, attn_resolutions=[], dropout=0.0,
)  # fmt: skip
FILE = Path(__file__).resolve().parent / "weights/vae.safetensors"


def build(**changes) -> AutoencoderKL:
    """Its weights are whatever lay in memory."""
    return AutoencoderKL(ddconfig=DDCONFIG | changes, embed_dim=4)


def posterior(vae: AutoencoderKL, pictures: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and log of the variance of the latents, not yet scaled."""
    mean, logvar = vae.quant_conv(vae.encoder(pictures * 2 - 1)).float().chunk(2, 1)
    return mean, logvar.clamp(-30, 20)


def decode(vae: AutoencoderKL, latents: Tensor) -> Tensor:
    """Latents, not scaled, to pictures that are not yet clamped."""
    return (vae.decode(latents).float() + 1) / 2


@torch.no_grad()
def rebuilt(vae: AutoencoderKL, pictures: Tensor, block: int = 16) -> Tensor:
    """Pictures as they come back from their latents."""
    return torch.cat([decode(vae, posterior(vae, some)[0]).clamp(0, 1) for some in pictures.split(block)])


def save(vae: AutoencoderKL, path: Path, about: dict) -> None:
    """about: "scale", by which latents are multiplied to have unit variance, and what else is known."""
    tensors = {name: weight.half().contiguous() for name, weight in vae.state_dict().items()}
    save_file(tensors, path, {"vae": json.dumps(about | {"ddconfig": DDCONFIG})})


def load(path: Path = FILE) -> tuple[AutoencoderKL, dict]:
    with safe_open(path, framework="pt") as file:
        about = json.loads(file.metadata()["vae"])
        tensors = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118
    vae = build(**about["ddconfig"])
    vae.load_state_dict(tensors)
    return vae.eval().requires_grad_(False), about
