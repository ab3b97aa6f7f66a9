"""Pictures of a prompt by the host's own samplers, as Empty Latent Image, KSampler and VAE Decode make them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import comfy.sample
import torch
from comfy.model_patcher import ModelPatcher
from comfy.samplers import KSampler
from comfy.sd import CLIP, VAE
from torch import Tensor

from ...files import LONGEST, QUOTED, shown
from ..model import attends_jointly, best_resolution, is_flow

CELL = 8  # pixels of an empty latent's
# KSampler's own ends.
MOST_STEPS, HIGHEST_CFG, LARGEST_SIDE = 10_000, 100, 16_384
# These paint a picture of a seed whatever is beside it in a batch. Others draw noise for the whole batch at each step,
# or, as dpm_adaptive, choose their steps by all of it; of a sampler that is new, it is not known.
ALIKE_IN_BATCHES = {
    "euler", "euler_cfg_pp", "heun", "heunpp2", "dpm_2", "lms", "dpm_fast", "dpmpp_2m", "dpmpp_2m_cfg_pp", "ipndm",
    "ipndm_v", "deis", "res_multistep", "res_multistep_cfg_pp", "gradient_estimation", "gradient_estimation_cfg_pp",
    "exp_heun_2_x0", "ddim", "uni_pc", "uni_pc_bh2",
}  # fmt: skip


@dataclass(frozen=True)
class Sampling:
    """How pictures are painted; the names are KSampler's. See `usual_sampling` for width and height."""

    steps: int = 30
    cfg: float = 8.0
    sampler: str = "dpmpp_2m"
    scheduler: str = "karras"
    negative: str = "monochrome, lowres, bad anatomy, worst quality, low quality"
    width: int = 0
    height: int = 0

    def check(self) -> None:
        """Raise ValueError with a sentence."""
        for what, name, known in (
            ("sampler", self.sampler, KSampler.SAMPLERS),
            ("scheduler", self.scheduler, KSampler.SCHEDULERS),
        ):
            if name not in known:
                raise ValueError(f"There is no {what} {shown(name, QUOTED)}. Use one of: {', '.join(known)}.")
        if not 1 <= self.steps <= MOST_STEPS:
            raise ValueError(f"steps is {self.steps}. Use 1 to {MOST_STEPS}.")
        if not 0 <= self.cfg <= HIGHEST_CFG:
            raise ValueError(f"cfg is {self.cfg:g}. Use a number from 0 to {HIGHEST_CFG}.")
        for side, pixels in (("width", self.width), ("height", self.height)):
            if not 2 * CELL <= pixels <= LARGEST_SIDE or pixels % CELL:
                raise ValueError(
                    f"{side} is {pixels}. Use a multiple of {CELL} pixels, from {2 * CELL} to {LARGEST_SIDE}."
                )
        if len(self.negative) > LONGEST:
            raise ValueError(f"The negative prompt has {len(self.negative)} letters. Use at most {LONGEST}.")

    @property
    def alike_in_batches(self) -> bool:
        """Whether a picture is the same, to rounding, whatever else is in its batch."""
        return self.sampler in ALIKE_IN_BATCHES


# Of the templates' workflows.
DIFFUSION = Sampling()
Z_IMAGE = Sampling(steps=8, cfg=1.0, sampler="res_multistep", scheduler="simple", negative="")
ANIMA = Sampling(cfg=4.0, sampler="euler", scheduler="simple", negative="worst quality, low quality, blurry")


def usual_sampling(model: ModelPatcher) -> Sampling:
    """What the templates paint with a MODEL of its family."""
    usual = DIFFUSION if not is_flow(model) else Z_IMAGE if attends_jointly(model) else ANIMA
    side = best_resolution(model)
    return replace(usual, width=side, height=side)


def encode(clip: CLIP, text: str) -> list:
    """A prompt to the host's CONDITIONING."""
    return clip.encode_from_tokens_scheduled(clip.tokenize(text))


def paint(
    model: ModelPatcher,
    vae: VAE,
    positive: list,
    negative: list,
    seeds: Sequence[int],
    sampling: Sampling,
    on_step: Callable[[int], None] = lambda step: None,
) -> Tensor:
    """A picture a seed [B, H, W, 3] in 0..1, each from the noise that KSampler gives a picture of that seed."""
    empty = torch.zeros(1, 4, sampling.height // CELL, sampling.width // CELL)
    empty = comfy.sample.fix_empty_latent_channels(model, empty)
    noise = torch.cat([comfy.sample.prepare_noise(empty, seed) for seed in seeds])
    latents = comfy.sample.sample(
        model, noise, sampling.steps, sampling.cfg, sampling.sampler, sampling.scheduler, positive, negative,
        torch.zeros_like(noise), callback=lambda step, *rest: on_step(step + 1), disable_pbar=True, seed=seeds[0],
    )  # fmt: skip
    return vae.decode(latents).flatten(end_dim=-4).float().cpu().clamp(0, 1)
