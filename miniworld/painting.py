"""Paint prompts with the host's own sampler."""

from __future__ import annotations

import comfy.sample
import torch
from torch import Tensor

SIZE = 16  # of latents


@torch.inference_mode()
def paint(
    model, clip, vae, prompts: list[str], seed: int = 0, steps: int = 20, guidance: float = 5.0, block: int = 16
) -> Tensor:
    """One picture a prompt [B, 3, 128, 128] in 0..1, `block` in a batch: for prompts without a persona.

    The noise of row i is that of seed + i.
    """
    encoded = [clip.encode_from_tokens_scheduled(clip.tokenize(prompt))[0] for prompt in prompts]
    found = []
    for first in range(0, len(prompts), block):
        some = encoded[first : first + block]
        positive = [[torch.cat([context for context, _ in some]), some[0][1]]]
        found.append(sample(model, clip, vae, positive, len(some), seed + first, steps, guidance))
    return torch.cat(found)


@torch.inference_mode()
def sample(model, clip, vae, positive: list, count: int, seed: int, steps: int, guidance: float) -> Tensor:
    negative = clip.encode_from_tokens_scheduled(clip.tokenize(""))
    generators = (torch.Generator().manual_seed(seed + row) for row in range(count))
    noise = torch.stack([torch.randn(4, SIZE, SIZE, generator=generator) for generator in generators])
    latents = comfy.sample.sample(
        model, noise, steps, guidance, "euler", "normal", positive, negative, torch.zeros_like(noise),
        disable_pbar=True, seed=seed,
    )  # fmt: skip
    return vae.decode(latents).movedim(-1, 1).clamp(0, 1).float()
