"""The flow painter: the host's own NextDiT, as Z-Image has it, but small. It predicts noise less picture."""

from __future__ import annotations

import comfy.latent_formats
import comfy.model_management
import comfy.supported_models
import torch
from comfy.model_patcher import ModelPatcher

from . import qwen

PADDED = 32  # tokens of the text, and of the picture, are filled up to a multiple of so many
SHIFT = 3.0  # Z-Image's
TRANSFORMER = dict(
    image_model="lumina2", patch_size=2, in_channels=4, dim=256, n_layers=6, n_refiner_layers=1, n_heads=4,
    n_kv_heads=4, axes_dims=[16, 24, 24], axes_lens=[1536, 512, 512], rope_theta=256.0, ffn_dim_multiplier=8 / 3,
    qk_norm=True, cap_feat_dim=qwen.WIDTH, z_image_modulation=True, time_scale=1000.0, pad_tokens_multiple=PADDED,
)  # fmt: skip


class Latents(comfy.latent_formats.LatentFormat):
    """scale_factor is the VAE's own, see `build_model`."""


class MiniFlow(comfy.supported_models.ZImage):
    """A Z-Image in small, but for its latents."""

    latent_format = Latents
    sampling_settings = {"multiplier": 1.0, "shift": SHIFT}


def build_model(scale: float = 1.0) -> ModelPatcher:
    """The host's MODEL. Its weights are whatever lay in memory. scale: of the VAE's latents."""
    config = MiniFlow(dict(TRANSFORMER))
    config.latent_format.scale_factor = scale
    config.set_inference_dtype(torch.float32, None)
    base = config.get_model({}, "", device=torch.device("cpu"))
    return ModelPatcher(base, comfy.model_management.get_torch_device(), comfy.model_management.unet_offload_device())
