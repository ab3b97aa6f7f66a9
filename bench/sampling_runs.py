"""Sampling with and without personas, for the benchmarks: a random persona, one run, the time in the pack's own code.

Import host_modules first, and make persona_core importable.
"""

import time
from pathlib import Path

import comfy.sample
import comfy.sd
import torch

from bench.stopwatch import forget_peak, peak_memory, seconds
from persona_core.host.apply import places, sampling
from persona_core.host.clip import text_towers
from persona_core.mapper import StageMapper
from persona_core.persona import Persona
from persona_core.stages import Stages
from tools import random_checkpoint


def load(folder: Path):
    """MODEL and CLIP of a random checkpoint."""
    file = random_checkpoint.build(folder / "full.ckpt", "full")
    return comfy.sd.load_checkpoint_guess_config(str(file), output_vae=False, output_clip=True)[:2]


def random_persona(clip) -> Persona:
    towers = text_towers(clip)
    mapper = StageMapper(towers.word("face"), Stages(), widths=towers.widths).requires_grad_(False)
    mapper.head.weight.normal_(std=0.02)
    return Persona("ann", mapper, towers.family, "face")


def encode(clip, text: str):
    return clip.encode_from_tokens_scheduled(clip.tokenize(text))


def sample(model, positive, negative, latent: int, steps: int) -> tuple[float, int]:
    """Seconds of one run, and the peak memory in it in bytes. latent: a side."""
    noise = torch.randn(1, 4, latent, latent, generator=torch.Generator().manual_seed(0))

    def run() -> None:
        comfy.sample.sample(
            model, noise, steps, 7.5, "euler", "normal", positive, negative, torch.zeros_like(noise),
            disable_pbar=True, seed=0,
        )  # fmt: skip

    forget_peak()
    return seconds(run), peak_memory()


class Own:
    """Adds up the time in the pack's own code: what follow_tables does before the host's, give_values and bias_for."""

    def __init__(self):
        self.seconds = 0.0
        for module, name in ((sampling, "at_timestep"), (sampling, "give_values"), (places, "bias_for")):
            setattr(module, name, self.timed(getattr(module, name)))

    def timed(self, function):
        def call(*args):
            began = time.perf_counter()
            try:
                return function(*args)
            finally:
                self.seconds += time.perf_counter() - began

        return call
