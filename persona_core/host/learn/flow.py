"""What the host's frozen flow-matching transformers have in common while somebody is learned with them.

Shapes: B rows.
"""

import math

from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ...noise import FlowSchedule
from ...stages import TIMESTEPS
from ..model import check_flow, compute_dtype
from .attention import attention_for
from .denoiser import plain_options


class FrozenFlow:
    """A MODEL of the host that matches flows. Raises UnsupportedModel for one that does not.

    cells: of the latents, where they are few: attention may then be faster.
    """

    def __init__(self, patcher: ModelPatcher, cells: float = math.inf):
        check_flow(patcher)
        self.patcher, self.diffusion_model = patcher, patcher.model.diffusion_model
        self.sampling = patcher.get_model_object("model_sampling")
        self.schedule = FlowSchedule(float(self.sampling.shift))
        self.dtype, self.device = compute_dtype(patcher), patcher.load_device
        self.attention = attention_for(self.device, self.dtype, cells)

    def timesteps(self, t: Tensor) -> Tensor:
        """What the transformer takes for t [B] in 0..1000."""
        return self.sampling.timestep(t.to(self.device).float() / TIMESTEPS).float()

    def options(self, t: Tensor) -> dict:
        """Transformer options for one pass: the MODEL's own patches, and attention that has a backward."""
        return plain_options(self.patcher, self.attention) | {"sigmas": (t.float() / TIMESTEPS).to(self.device)}
