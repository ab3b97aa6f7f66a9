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
    patch = config.get("patch_size", config.get("patch_spatial"))
    return cell * 2 ** (len(config["channel_mult"]) - 1) if patch is None else cell * patch


@torch.no_grad()
def encode(model: ModelPatcher, vae: VAE, pictures: Sequence[Photo]) -> tuple[Tensor, Tensor]:
    """Latents [M, C, h, w] as the UNet takes them, and masks [M, 1, h, w] at their size."""
    latents, masks = [], []
    # Several pictures are one video to a VAE of videos.
    at_once = 1 if of_videos(model) else AT_ONCE
    for first in range(0, len(pictures), at_once):
        some = pictures[first : first + at_once]
        images = torch.stack([photo.image for photo in some])
        # Here: where memory ends while it loads, the VAE itself would go on with half of its weights there.
        shape = rearrange(images, "m h w c -> m c 1 h w" if of_videos(model) else "m h w c -> m c h w").shape
        needed = vae.memory_used_encode(shape, vae.vae_dtype)
        comfy.model_management.load_models_gpu([vae.patcher], memory_required=needed)
        encoded = model.model.process_latent_in(vae.encode(images))
        latents.append(encoded.squeeze(2) if of_videos(model) else encoded)
        small = rearrange(torch.stack([photo.mask for photo in some]), "m h w -> m 1 h w")
        masks.append(F.interpolate(small, latents[-1].shape[-2:], mode="area").to(latents[-1]))
    return torch.cat(latents), torch.cat(masks)


def decode(model: ModelPatcher, vae: VAE, latents: Tensor) -> Tensor:
    """Pictures [B, H, W, 3] of latents [B, C, h, w] as the UNet takes them."""
    latents = model.model.process_latent_out(latents.unsqueeze(2) if of_videos(model) else latents)
    return vae.decode(latents).flatten(end_dim=-4)


def of_videos(model: ModelPatcher) -> bool:
    """Whether latents are those of videos, of which a picture is one frame."""
    return model.model.latent_format.latent_dimensions == 3


def embed(clip_vision: ClipVisionModel, references: Sequence[Photo]) -> Tensor:
    """Image embeddings [M, E] of the photos. An encoder that was not loaded before is not after."""
    with unloaded_after(clip_vision.patcher):
        return torch.cat(
            [clip_vision.encode_image(photo.image[None])["image_embeds"].float().cpu() for photo in references]
        )
