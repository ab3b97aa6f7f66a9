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

    scale: of the loss, where the denoiser computes in fp16. photo: how hard the photo pulls at the tokens; 0 as long as
    that is not known. pulls: how hard each other term has pulled at most in earlier steps.
    """

    def __init__(self, task: TrainingTask, scale: float, photo: float, pulls: dict[str, float]):
        self.task, self.scale, self.photo, self.earlier = task, scale, photo, pulls
        self.found: dict[int, Tensor] = {}  # by the example's number: its rows may be in several parts
        self.sums: dict[str, Tensor] = {}
        self.factors: dict[str, float] = {}
        self.sides: Sequence[Tensor] = ()
        self.others: dict[str, Tensor] = {}
        self.done = 0

    def before(self, step: Step, losses: Mapping[str, Tensor], share: float) -> dict[str, float]:
        """What each loss term is to be multiplied by. losses: of the part, whose share of the step is `share`.

        A relative weight says how many times as hard as the photo a term may pull where it pulls hardest. That is found
        in each step anew: some terms do not pull at all where tokens are still the word.
        """
        self.sides = [side for side in step.vectors.sides if side.requires_grad]
        self.others = {name: self.of(loss) for name, loss in losses.items() if name != NOISE and loss.requires_grad}
        for side in self.sides:
            side.retain_grad()  # not before: it would keep the others' too
        self.factors = {name: self.factor(name, share) for name in self.task.objective.relative}
        return self.factors

    def factor(self, name: str, share: float) -> float:
        pull = self.length(self.others[name]) / share if name in self.others else 0.0
        hardest = max(pull, self.earlier.get(name, 0.0))
        return self.task.objective.relative[name] * self.photo / hardest if hardest else 0.0

    def of(self, loss: Tensor) -> Tensor:
        """[rows, P], scaled; the graph stays for the backward pass of all terms."""
        gradients = torch.autograd.grad(loss * self.scale, self.sides, retain_graph=True, allow_unused=True)
        return in_rows(gradients, self.sides)

    def after(self, rows: int) -> None:
        """rows: of the part."""
        noise = in_rows([side.grad for side in self.sides], self.sides)
        for name, gradient in self.others.items():
            noise = noise - self.factors.get(name, 1.0) * gradient
            self.sums[name] = self.sums.get(name, 0) + gradient.sum(0, keepdim=True)
        times = self.task.noise_multiplicity
        for number, gradient in zip(range(self.done // times, -(-(self.done + rows) // times)), noise):
            self.found[number] = self.found.get(number, 0) + gradient
        self.done += rows

    @property
    def examples(self) -> Tensor:
        """[E, P] by the noise loss, of each example as if it were alone."""
        return self.in_spreads(torch.stack(list(self.found.values()))) * self.task.settings.batch_size

    @property
    def pulls(self) -> dict[str, float]:
        """How hard each other term has pulled at most, this step among them: the length of its gradient, all rows
        together, without its factor. Not finite where fp16 overflowed."""
        return self.earlier | {
            name: max(self.length(one), self.earlier.get(name, 0.0)) for name, one in self.sums.items()
        }

    def length(self, gradients: Tensor) -> float:
        """Of the sum of gradients [rows, P]."""
        return self.in_spreads(gradients.sum(0)).norm().item()

    def in_spreads(self, gradients: Tensor) -> Tensor:
        unit = spread(self.task.representation.word, self.task.representation.widths)
        return gradients * unit.repeat(gradients.shape[-1] // len(unit)) / self.scale


def in_rows(gradients: Sequence[Tensor | None], sides: Sequence[Tensor]) -> Tensor:
    """[rows, P] of what there is for each side; what a term does not depend on has no gradient, which counts as 0."""
    whole = (torch.zeros_like(side) if one is None else one for one, side in zip(gradients, sides))
    return torch.cat([one.flatten(1) for one in whole], 1)
