"""Paint prompts with the host's own sampler."""

from __future__ import annotations

import comfy.sample
import torch
from einops import rearrange
from node_helpers import conditioning_set_values
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
def paint_each(model, clip, vae, prompts: list[str], seed: int = 0, steps: int = 20, guidance: float = 5.0) -> Tensor:
    """The same for a CLIP whose contexts are as long as their prompts, which no batch can hold together."""
    encoded = [clip.encode_from_tokens_scheduled(clip.tokenize(prompt)) for prompt in prompts]
    return torch.cat([sample(model, clip, vae, one, 1, seed + row, steps, guidance) for row, one in enumerate(encoded)])


@torch.inference_mode()
def sample(model, clip, vae, positive: list, count: int, seed: int, steps: int, guidance: float) -> Tensor:
    """Pictures [count, 3, 128, 128] of one conditioning. The noise of row i is that of seed + i."""
    negative = clip.encode_from_tokens_scheduled(clip.tokenize(""))
    noise = torch.stack([noise_of(seed + row) for row in range(count)])
    return decoded(vae, latents_of(model, noise, positive, negative, seed, steps, guidance))


@torch.inference_mode()
def sample_each(model, clip, vae, positives: list[list], seeds: list[int], steps: int, guidance: float) -> Tensor:
    """One picture of each conditioning [B, 3, 128, 128]: areas of one canvas, so that the host paints all in a batch.

    A persona's contexts differ from prompt to prompt, so they cannot be rows of one conditioning.
    """
    negative = clip.encode_from_tokens_scheduled(clip.tokenize(""))
    areas = [{"area": (SIZE, SIZE, 0, SIZE * place), "strength": 1.0} for place in range(len(positives))]
    both = (
        [one for conditioning, area in zip(conditionings, areas) for one in conditioning_set_values(conditioning, area)]
        for conditionings in (positives, [negative] * len(positives))
    )
    noise = torch.cat([noise_of(seed) for seed in seeds], -1)[None]
    canvas = latents_of(model, noise, *both, seeds[0], steps, guidance)
    return decoded(vae, rearrange(canvas, "1 c h (b w) -> b c h w", w=SIZE))


def noise_of(seed: int) -> Tensor:
    return torch.randn(4, SIZE, SIZE, generator=torch.Generator().manual_seed(seed))


def latents_of(model, noise: Tensor, positive: list, negative: list, seed: int, steps: int, guidance: float) -> Tensor:
    return comfy.sample.sample(
        model, noise, steps, guidance, "euler", "normal", positive, negative, torch.zeros_like(noise),
        disable_pbar=True, seed=seed,
    )  # fmt: skip


def decoded(vae, latents: Tensor) -> Tensor:
    return vae.decode(latents).movedim(-1, 1).clamp(0, 1).float()
