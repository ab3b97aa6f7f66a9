"""Photos as the host's models see them: latents of the VAE, image embeddings."""

from collections.abc import Sequence

import comfy.model_management
import torch
import torch.nn.functional as F
from comfy.clip_vision import ClipVisionModel
from comfy.model_patcher import ModelPatcher
from comfy.sd import VAE
from einops import rearrange
from torch import Tensor

from ...photos import Photo
from .memory import unloaded_after

AT_ONCE = 32  # photos: as many as one photo is varied into


def size_multiple(model: ModelPatcher, vae: VAE) -> int:
    """How many pixels a side one cell of the UNet's lowest level covers: 64 for SD1.x and SD2.x; or a transformer's
    patch."""
    config, cell = model.model.model_config.unet_config, vae.spacial_compression_encode()
    return cell * config["patch_size"] if "patch_size" in config else cell * 2 ** (len(config["channel_mult"]) - 1)


@torch.no_grad()
def encode(model: ModelPatcher, vae: VAE, pictures: Sequence[Photo]) -> tuple[Tensor, Tensor]:
    """Latents [M, C, h, w] as the UNet takes them, and masks [M, 1, h, w] at their size."""
    latents, masks = [], []
    for first in range(0, len(pictures), AT_ONCE):
        some = pictures[first : first + AT_ONCE]
        images = torch.stack([photo.image for photo in some])
        # Here: where memory ends while it loads, the VAE itself would go on with half of its weights there.
        needed = vae.memory_used_encode(rearrange(images, "m h w c -> m c h w").shape, vae.vae_dtype)
        comfy.model_management.load_models_gpu([vae.patcher], memory_required=needed)
        latents.append(model.model.process_latent_in(vae.encode(images)))
        small = rearrange(torch.stack([photo.mask for photo in some]), "m h w -> m 1 h w")
        masks.append(F.interpolate(small, latents[-1].shape[-2:], mode="area").to(latents[-1]))
    return torch.cat(latents), torch.cat(masks)


def embed(clip_vision: ClipVisionModel, references: Sequence[Photo]) -> Tensor:
    """Image embeddings [M, E] of the photos. An encoder that was not loaded before is not after."""
    with unloaded_after(clip_vision.patcher):
        return torch.cat(
            [clip_vision.encode_image(photo.image[None])["image_embeds"].float().cpu() for photo in references]
        )
