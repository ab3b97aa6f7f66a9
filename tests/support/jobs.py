"""What tests of learning share: a job learned, how far what was learned moved, and whether it left traces."""

import torch
from comfy.model_patcher import ModelPatcher
from torch import nn

from persona_core.host.learn.run import TrainingJob, train_persona
from persona_core.persona import Persona
from persona_core.representation import Representation


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def own_forwards(patcher: ModelPatcher) -> list[nn.Module]:
    """The modules of a UNet that compute something else than their class does."""
    return [module for module in patcher.model.diffusion_model.modules() if "forward" in module.__dict__]


def learned(job: TrainingJob, folder, on_step=lambda progress: None, name="run", fingerprint=None) -> Persona:
    """fingerprint: the job's own if None; with another pack's functions in it, it has no lasting one."""
    return train_persona(job, fingerprint or job.fingerprint(), folder / f"{name}.partial", on_step)


def tensors(persona: Persona) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in persona.representation.state_dict().items()}


def moved(representation: Representation, start: dict[str, torch.Tensor]) -> torch.Tensor:
    """How far all that is learned moved."""
    state = representation.state_dict()
    return torch.cat([(state[name] - value).flatten() for name, value in start.items()])


def alike(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether two moved the same way, but for rounding: Adam makes much of gradients that are next to nothing."""
    return one.norm() > 0 and (one - other).norm() < 1e-3 * one.norm()
