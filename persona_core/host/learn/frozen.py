"""The frozen denoiser of a MODEL, of whichever family it is."""

import math

from comfy.ldm.lumina.model import NextDiT
from comfy.model_patcher import ModelPatcher

from .denoiser import FrozenDenoiser
from .transformer import FrozenTransformer


def frozen(patcher: ModelPatcher, cells: float = math.inf) -> FrozenDenoiser | FrozenTransformer:
    """cells: of the latents, where they are few: attention may then be faster. Raises UnsupportedModel."""
    kind = FrozenTransformer if isinstance(patcher.model.diffusion_model, NextDiT) else FrozenDenoiser
    return kind(patcher, cells)
