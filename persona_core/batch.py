"""What chance decides in a step of learning: pictures, timesteps, noise and prompts.

Shapes: B rows of a step, latents C x h x w.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .task import TrainingTask


@dataclass(frozen=True)
class Batch:
    """What chance decides in a step. Rows of one example (a picture, a prompt, a timestep) differ in their noise alone.

    picture, t: [B]. noise: [B, C, h, w]. keep_bypass: [B]. prompts: B. rich, rich_t: a rich prompt and
    its timestep [1], or none where the objective has none.
    """

    picture: Tensor
    t: Tensor
    noise: Tensor
    keep_bypass: Tensor
    prompts: Sequence[str]
    rich: Sequence[str]
    rich_t: Tensor

    def split(self, rows: int) -> "Iterator[Batch]":
        """So many rows at a time. The rich prompt goes with all."""
        for first in range(0, len(self.t), rows):
            some = slice(first, first + rows)
            yield replace(
                self,
                picture=self.picture[some],
                t=self.t[some],
                noise=self.noise[some],
                keep_bypass=self.keep_bypass[some],
                prompts=self.prompts[some],
            )


def sample_batch(task: TrainingTask, index: int) -> Batch:
    """Pictures, timesteps, noise and prompts for step `index`: always the same."""
    stages, latents, objective = task.representation.stages, task.references.latents, task.objective
    settings, rows, schedule = task.settings, task.settings.batch_size, task.denoiser.schedule
    # On the CPU, and one a step: the same draws on every device, and after an interrupt. Mixed, because torch keeps
    # only 32 bits of a seed.
    generator = torch.Generator().manual_seed(random.Random(f"{settings.seed} {index}").getrandbits(32))

    example = torch.arange(rows) // task.noise_multiplicity  # of each row
    examples = int(example[-1]) + 1

    def drawn(highest: int, count: int = examples) -> Tensor:
        return torch.randint(highest, (count,), generator=generator)

    # One a step, however many rows: as the paper's, where a step is one row.
    rich = 1 if objective.rich else 0
    return Batch(
        picture=drawn(len(latents))[example],
        t=schedule.random(stages, examples, generator)[example].to(latents.device),
        noise=torch.randn(rows, *latents.shape[1:], generator=generator).to(latents),
        keep_bypass=(torch.rand(examples, generator=generator) >= settings.bypass_dropout)[example],
        prompts=[objective.prompts[i] for i in drawn(len(objective.prompts))[example]],
        rich=[objective.rich[i] for i in drawn(len(objective.rich), rich)] if rich else (),
        rich_t=schedule.random(stages, rich, generator).to(latents.device),
    )
