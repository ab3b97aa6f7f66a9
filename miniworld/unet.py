"""The painter: the host's own UNetModel with the geometry of SD1.5, but small. It predicts the velocity, down to a
signal of nothing at t = 999: with SD's own schedule the first noise would choose the picture's light, not the prompt.
"""

from __future__ import annotations

import comfy.latent_formats
import comfy.model_management
import comfy.supported_models
import torch
from comfy.model_base import ModelType
from comfy.model_patcher import ModelPatcher

from . import text

UNET = dict(
    image_size=16, in_channels=4, out_channels=4, model_channels=64, num_res_blocks=[1, 1, 1], channel_mult=[1, 2, 2],
    transformer_depth=[1, 1, 1], transformer_depth_output=[0, 1, 0, 1, 0, 1], transformer_depth_middle=1,
    context_dim=text.WIDTH, use_spatial_transformer=True, use_checkpoint=False, legacy=False,
    use_linear_in_transformer=False, adm_in_channels=None, use_temporal_attention=False, use_temporal_resblock=False,
)  # fmt: skip
HEAD = 32  # channels


class Latents(comfy.latent_formats.LatentFormat):
    """scale_factor is the VAE's own, see `build_model`."""


class MiniWorld(comfy.supported_models.SD15):
    """An SD1.5 in small, but for its latents' scale and what it predicts."""

    latent_format = Latents
    sampling_settings = {"zsnr": True}

    def model_type(self, state_dict, prefix=""):
        return ModelType.V_PREDICTION


def build_model(scale: float = 1.0) -> ModelPatcher:
    """The host's MODEL. Its weights are whatever lay in memory. scale: of the VAE's latents."""
    config = MiniWorld(dict(UNET))
    config.unet_config |= {"num_heads": -1, "num_head_channels": HEAD}  # the constructor forces SD1.5's
    config.latent_format.scale_factor = scale
    config.set_inference_dtype(torch.float32, None)
    base = config.get_model({}, "", device=torch.device("cpu"))
    return ModelPatcher(base, comfy.model_management.get_torch_device(), comfy.model_management.unet_offload_device())
