"""What the painter sees and must say at a timestep, and how its weights begin.

Shapes: latents [B, 4, 16, 16] of about unit variance, contexts [B, 77, text.WIDTH], t [B] in 0..999.
"""

from __future__ import annotations

import math

import torch
from comfy.model_patcher import ModelPatcher
from torch import Tensor, nn

from . import attention


@torch.no_grad()
def start(unet: nn.Module, seed: int = 0) -> None:
    """Seeded first weights. Every block begins by doing nothing, and the output by saying nothing."""
    generator = torch.Generator().manual_seed(seed)
    for name, weight in unet.named_parameters():
        if weight.ndim >= 2:
            weight.copy_(torch.randn(weight.shape, generator=generator) / math.sqrt(weight[0].numel()))
        else:
            weight.fill_(1.0 if name.endswith("weight") else 0.0)
        if name.endswith(("out_layers.3.weight", "proj_out.weight")) or name == "out.2.weight":
            weight.zero_()


def predict(unet: nn.Module, noisy: Tensor, t: Tensor, context: Tensor) -> Tensor:
    """The velocity [B, 4, 16, 16]."""
    options = {"optimized_attention_override": attention.override}
    return unet(noisy, t.float(), context=context, transformer_options=options).float()


class Schedule:
    """The host's for this model."""

    def __init__(self, patcher: ModelPatcher, device: torch.device | None = None):
        sigmas = patcher.get_model_object("model_sampling").sigmas
        self.alphas_cumprod = (1 / (sigmas**2 + 1)).to(device=device, copy=True)

    def noisy(self, latents: Tensor, noise: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """What the UNet sees, and the velocity that it must say: sqrt(a) noise - sqrt(1 - a) latents."""
        a = self.alphas_cumprod[t][:, None, None, None]
        return a.sqrt() * latents + (1 - a).sqrt() * noise, a.sqrt() * noise - (1 - a).sqrt() * latents
