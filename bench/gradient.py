"""How much of a gradient is signal: at the word, where learning begins, for one noised picture and for several.

Near its start a token can only learn from what the gradients of single pictures have in common; the rest is noise that
averages out with their number. So this ratio tells how many passes through the UNet learning needs.
Shapes: n gradients, P numbers of all tokens, N persona tokens, D width of the text encoder, B rows of a step.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from persona_core.losses import masked_diffusion_loss
from persona_core.representation import Learnable, TokenVectors
from persona_core.stages import Stages
from persona_core.task import Objective, TrainingTask
from persona_core.training import forward, sample_batch


class WordTokens(Learnable):
    """N tokens that all are the word, the same at every timestep: one set for K and V, or one for each.

    word: [D]. stages: the timesteps that are drawn.
    """

    def __init__(self, word: Tensor, tokens: int, stages: Stages, separate: bool = False):
        super().__init__()
        self.tokens, self.stages, self.widths = tokens, stages, (len(word),)
        self.register_buffer("word", word.detach().clone().float())
        self.vectors = nn.Parameter(self.word.expand(1 + separate, tokens, -1).clone())

    def at(self, t: Tensor, picture: Tensor | None = None) -> TokenVectors:
        sides = [side.expand(len(t), -1, -1) for side in self.vectors]
        return TokenVectors(sides[0], sides[-1])


@dataclass(frozen=True)
class Ratio:
    """signal: the length of the mean gradient. noise: how far a single one is from it, root mean square."""

    signal: float
    noise: float

    @property
    def value(self) -> float:
        return self.signal / self.noise


def signal_to_noise(gradients: Tensor) -> Ratio:
    """Of gradients [n, P] of independent batches; without bias, so that pure noise has a signal of about 0.

    The mean of n gradients is longer than the signal, by a share of the noise: its square by noise^2 / n.
    Raises ValueError for fewer than two.
    """
    if len(gradients) < 2:
        raise ValueError(f"A spread needs at least two gradients; there is {len(gradients)}.")
    mean = gradients.mean(0)
    variance = (gradients - mean).square().sum() / (len(gradients) - 1)
    signal = (mean.square().sum() - variance / len(gradients)).clamp(min=0)
    return Ratio(float(signal.sqrt()), float(variance.sqrt()))


def gradients(task: TrainingTask, batch_size: int, count: int) -> Tensor:
    """Of the diffusion loss with regard to all that learns: [count, P], each of a step of so many pictures."""
    objective = Objective({"noise": masked_diffusion_loss}, task.objective.prompts)
    task = replace(task, objective=objective, settings=replace(task.settings, batch_size=batch_size))
    parameters = list(task.representation.parameters())
    found = []
    for index in range(count):
        loss = masked_diffusion_loss(forward(task, sample_batch(task, index)))
        found.append(torch.cat([one.flatten() for one in torch.autograd.grad(loss, parameters)]))
    return torch.stack(found)


def ratios(task: TrainingTask, batch_sizes: Sequence[int], pictures: int) -> dict[int, Ratio]:
    """By the size of a step, each from so many pictures."""
    return {size: signal_to_noise(gradients(task, size, pictures // size)) for size in batch_sizes}
