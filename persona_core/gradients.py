"""What each loss term asks of the tokens in a step: its gradient there, in spreads of the word, which mean the same in
every text encoder.

Shapes: E examples of a step, P numbers of all tokens.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice

import torch
from torch import Tensor

from .representation import spread
from .task import NOISE, Step, TrainingTask


class TokenGradients:
    """Of one step, put together from its parts: `look` before and `after` behind the backward pass of each, `finish`
    after all.

    scale: of the loss, where the denoiser computes in fp16. photo: how hard the photo pulls at the tokens; 0 as long as
    that is not known. pulls: how hard each other term has pulled at most in earlier steps, and, once it is finished, in
    this one: the length of its gradient, all rows together, as its own weight makes it; not finite where fp16
    overflowed.
    """

    def __init__(self, task: TrainingTask, scale: float, photo: float, pulls: dict[str, float]):
        self.task, self.scale, self.photo = task, scale, photo
        self.parameters = list(task.representation.parameters())
        self.found: dict[int, Tensor] = {}  # by the example's number: its rows may be in several parts
        self.sums: dict[str, Tensor] = {}
        self.pulls = dict(pulls)
        self.apart: dict[str, list[Tensor | None]] = {}  # the parameters' gradients by terms of a relative weight
        self.sides: Sequence[Tensor] = ()
        self.within: Tensor | float = 0.0
        self.done = 0

    def begin(self, step: Step) -> None:
        """Look at another part."""
        self.sides, self.within = [side for side in step.vectors.sides if side.requires_grad], 0.0

    def inputs(self, name: str) -> list[Tensor]:
        """Where a term's gradient is asked for: at the tokens, and of a relative weight at the parameters too."""
        return [*self.sides, *(self.parameters if name in self.task.objective.relative else [])]

    def saw(self, name: str, gradients: Sequence[Tensor | None]) -> None:
        """The gradient of a term of this part at its `inputs`. Those of a relative weight are no part of the backward
        pass."""
        at_tokens = in_rows(gradients[: len(self.sides)], self.sides)
        self.sums[name] = self.sums.get(name, 0) + at_tokens.sum(0)
        if name in self.task.objective.relative:
            self.apart[name] = added(self.apart.get(name), gradients[len(self.sides) :])
        else:
            self.within = self.within + at_tokens

    def after(self, rows: int) -> None:
        """rows: of the part."""
        noise = in_rows([side.grad for side in self.sides], self.sides) - self.within
        times = self.task.noise_multiplicity
        for number, gradient in zip(range(self.done // times, -(-(self.done + rows) // times)), noise):
            self.found[number] = self.found.get(number, 0) + gradient
        self.done += rows

    def finish(self) -> None:
        """Add to the parameters' gradients what terms of a relative weight ask for.

        That says how many times as hard as the photo a term may pull where it pulls hardest, which is found in each
        step anew: some terms do not pull at all where tokens are still the word.
        """
        for name, whole in self.sums.items():
            length = self.in_spreads(whole).norm().item()
            self.pulls[name] = max(length, self.pulls.get(name, 0.0))
        for name, gradients in self.apart.items():
            hardest = self.pulls[name]
            factor = self.task.objective.relative[name] * self.photo / hardest if hardest else 0.0
            for parameter, gradient in zip(self.parameters, gradients):
                if gradient is not None:
                    parameter.grad = factor * gradient + (0 if parameter.grad is None else parameter.grad)

    @property
    def examples(self) -> Tensor:
        """[E, P] by the noise loss, of each example as if it were alone."""
        size, times = self.task.settings.batch_size, self.task.noise_multiplicity
        alone = [size / min(times, size - times * number) * gradient for number, gradient in self.found.items()]
        return self.in_spreads(torch.stack(alone))

    def in_spreads(self, gradients: Tensor) -> Tensor:
        unit = spread(self.task.representation.initializers, self.task.representation.widths).flatten()
        return gradients * unit.repeat(gradients.shape[-1] // len(unit)) / self.scale


def look(seen: Iterable[tuple[TokenGradients, Step, Mapping[str, Tensor]]]) -> None:
    """Before the backward pass of parts of one or of several personas' steps, and of their losses.

    Of all personas at once: they have no token in common, so each one's gradient is that of its own loss."""
    seen = list(seen)
    for watch, step, _ in seen:
        watch.begin(step)
    for name in dict.fromkeys(name for _, _, losses in seen for name in losses if name != NOISE):
        asked = [(watch, losses[name]) for watch, _, losses in seen if name in losses and losses[name].requires_grad]
        if not asked:
            continue
        inputs = [watch.inputs(name) for watch, _ in asked]
        scaled = [loss * watch.scale for watch, loss in asked]
        # The graph stays for the backward pass of the other terms.
        found = torch.autograd.grad(
            sum(scaled[1:], scaled[0]), [one for some in inputs for one in some], retain_graph=True, allow_unused=True
        )
        gradients = iter(found)
        for (watch, _), its in zip(asked, inputs):
            watch.saw(name, list(islice(gradients, len(its))))
    for watch, _, _ in seen:
        for side in watch.sides:
            side.retain_grad()  # not before: it would keep the others' too


def in_rows(gradients: Sequence[Tensor | None], sides: Sequence[Tensor]) -> Tensor:
    """[rows, P] of what there is for each side; what a term does not depend on has no gradient, which counts as 0."""
    whole = (torch.zeros_like(side) if one is None else one for one, side in zip(gradients, sides))
    return torch.cat([one.flatten(1) for one in whole], 1)


def added(one: Sequence[Tensor | None] | None, other: Sequence[Tensor | None]) -> list[Tensor | None]:
    """Gradients of the same parameters, some of which have none."""
    pairs = zip(one or [None] * len(other), other)
    return [b if a is None else a if b is None else a + b for a, b in pairs]
