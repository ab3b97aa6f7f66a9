"""Stage partition: how well the subject's attention covers its mask, at every timestep (PersonaMagic, Figure 2)."""

from collections.abc import Callable
from dataclasses import dataclass

import comfy.model_management
import torch
from comfy.model_patcher import ModelPatcher
from comfy.sd import CLIP, VAE
from torch import Tensor

from ...noise import add_noise
from ...photos import Photo
from ...representation import TokenVectors
from ...stages import TIMESTEPS, attention_iou
from ..clip import text_towers
from .adapted_text import text_encoder
from .frozen import frozen
from .latents import encode


@dataclass(frozen=True)
class AttentionCurve:
    """timesteps: [T] increasing. iou: [T] in 0..1. maps: [T, h, w] attention at the latent's size. mask: [h, w]."""

    timesteps: Tensor
    iou: Tensor
    maps: Tensor
    mask: Tensor


def attention_curve(
    model: ModelPatcher,
    clip: CLIP,
    vae: VAE,
    photo: Photo,
    supercategory: str,
    step: int,
    draws: int,
    seed: int,
    on_step: Callable[[int, int], None],
) -> AttentionCurve:
    """Attention of the word in "a photo of a {supercategory}", the mean over its tokens, for one photo, noised to every
    `step`-th timestep.

    draws: noise draws averaged at each. on_step(done, total) may raise to stop.
    """
    latents, masks = encode(model, vae, [photo])
    model, clip = model.clone(), clip.clone()
    timesteps = torch.arange(0, TIMESTEPS, step)
    needed = model.memory_required((draws, *latents.shape[1:]))
    comfy.model_management.load_models_gpu([model, clip.patcher], memory_required=needed)
    with torch.no_grad():
        denoiser, word = frozen(model), torch.atleast_2d(text_towers(clip).word(supercategory))[None]
        text = text_encoder(model, clip, word.shape[1], supercategory)
        encoding = text.encode(["a photo of a {}"], TokenVectors(word, word))
        pooled = None if encoding.pooled is None else encoding.pooled.expand(draws, -1)
        context, tokens = encoding.keys.expand(draws, -1, -1), encoding.persona[0].nonzero()[:, 0].tolist()
        generator = torch.Generator().manual_seed(seed)
        clean = latents.clone().to(denoiser.device).float().expand(draws, -1, -1, -1)
        noise = torch.randn(clean.shape, generator=generator).to(clean)
        maps = []
        for done, t in enumerate(timesteps):
            rows = t.expand(draws).to(denoiser.device)
            noisy = add_noise(denoiser.schedule, clean, noise, rows)
            maps.append(denoiser.attention_map(noisy, rows, context, tokens, pooled).mean(0).cpu())
            on_step(done + 1, len(timesteps))
    maps, mask = torch.stack(maps), masks[0, 0].cpu().clone()
    return AttentionCurve(timesteps, attention_iou(maps, mask), maps, mask)
