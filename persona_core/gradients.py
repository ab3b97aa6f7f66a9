"""What each loss term asks of the tokens in a step: its gradient there, in spreads of the word, which mean the same in
every text encoder.

Shapes: E examples of a step, P numbers of all tokens.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from .representation import spread
from .task import NOISE, Step, TrainingTask


class TokenGradients:
    """Of one step, put together from its parts; `before` and `after` the backward pass of each.

    scale: of the loss, where the denoiser computes in fp16. factors: what each term is multiplied by in the loss.
    """

    def __init__(self, task: TrainingTask, scale: float, factors: Mapping[str, float]):
        self.task, self.scale, self.factors = task, scale, factors
        self.found: dict[int, Tensor] = {}  # by the example's number: its rows may be in several parts
        self.sums: dict[str, Tensor] = {}
        self.sides: Sequence[Tensor] = ()
        self.others: dict[str, Tensor] = {}
        self.done = 0

    def before(self, step: Step, losses: Mapping[str, Tensor]) -> None:
        """losses: of the part, each as it is without its factor."""
        self.sides = [side for side in step.vectors.sides if side.requires_grad]
        self.others = {name: self.of(loss) for name, loss in losses.items() if name != NOISE and loss.requires_grad}
        for side in self.sides:
            side.retain_grad()  # not before: it would keep the others' too

    def of(self, loss: Tensor) -> Tensor:
        """[rows, P], scaled; the graph stays for the backward pass of all terms."""
        gradients = torch.autograd.grad(loss * self.scale, self.sides, retain_graph=True, allow_unused=True)
        return in_rows(gradients, self.sides)

    def after(self, rows: int) -> None:
        """rows: of the part."""
        noise = in_rows([side.grad for side in self.sides], self.sides)
        for name, gradient in self.others.items():
            noise = noise - self.factors.get(name, 1.0) * gradient
        for name, gradient in {NOISE: noise, **self.others}.items():
            self.sums[name] = self.sums.get(name, 0) + gradient.sum(0)
        times = self.task.noise_multiplicity
        for number, gradient in zip(range(self.done // times, -(-(self.done + rows) // times)), noise):
            self.found[number] = self.found.get(number, 0) + gradient
        self.done += rows

    @property
    def examples(self) -> Tensor:
        """[E, P] by the noise loss, of each example as if it were alone."""
        return self.in_spreads(torch.stack(list(self.found.values()))) * self.task.settings.batch_size

    @property
    def lengths(self) -> dict[str, float]:
        """Of each term's, all rows together."""
        return {name: self.in_spreads(one).norm().item() for name, one in self.sums.items()}

    def in_spreads(self, gradients: Tensor) -> Tensor:
        unit = spread(self.task.representation.word, self.task.representation.widths)
        return gradients * unit.repeat(gradients.shape[-1] // len(unit)) / self.scale


def in_rows(gradients: Sequence[Tensor | None], sides: Sequence[Tensor]) -> Tensor:
    """[rows, P] of what there is for each side; what a term does not depend on has no gradient, which counts as 0."""
    whole = (torch.zeros_like(side) if one is None else one for one, side in zip(gradients, sides))
    return torch.cat([one.flatten(1) for one in whole], 1)
