"""The frozen denoiser of a MODEL, of whichever family it is."""

import math

from comfy.model_patcher import ModelPatcher

from ..model import attends_jointly
from .denoiser import FrozenDenoiser
from .transformer import FrozenTransformer


def frozen(patcher: ModelPatcher, cells: float = math.inf) -> FrozenDenoiser | FrozenTransformer:
    """cells: of the latents, where they are few: attention may then be faster. Raises UnsupportedModel."""
    return (FrozenTransformer if attends_jointly(patcher) else FrozenDenoiser)(patcher, cells)
