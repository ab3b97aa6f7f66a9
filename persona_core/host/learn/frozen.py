"""The frozen denoiser of a MODEL, of whichever family it is."""

import math

from comfy.model_patcher import ModelPatcher

from ..model import attends_across, attends_jointly
from .cross_transformer import FrozenCrossTransformer
from .denoiser import FrozenDenoiser
from .transformer import FrozenTransformer

Frozen = FrozenDenoiser | FrozenTransformer | FrozenCrossTransformer


def frozen(patcher: ModelPatcher, cells: float = math.inf) -> Frozen:
    """cells: of the latents, where they are few: attention may then be faster. Raises UnsupportedModel."""
    if attends_jointly(patcher):
        return FrozenTransformer(patcher, cells)
    return (FrozenCrossTransformer if attends_across(patcher) else FrozenDenoiser)(patcher, cells)
