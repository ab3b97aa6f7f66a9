"""How much of what single pictures say to the tokens is the same in all of them, and how much is chance.

Shapes: B pictures, P numbers of all tokens.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

# Standard errors that a signal is long, to be known well enough, as passes go by its square; and to be one at all.
SURE, SOME = 5.0, 2.0


@dataclass
class SignalMeter:
    """Signal and noise of single pictures' gradients at the tokens.

    It must look while nothing moves: where chance has moved a token, the next gradients pull it back, against what they
    would have in common with the last ones.
    total: [P], their sum; squares: of their lengths; products: of each with the sum of those before it, in which noise
    has no part but by chance; spread, drift: of the squares of those, and of those times the number of pictures before,
    for how far chance may have moved products. count: of pictures; steps: that they were in.
    """

    total: Tensor = field(default_factory=lambda: torch.zeros(0))
    count: int = 0
    steps: int = 0
    squares: float = 0.0
    products: float = 0.0
    spread: float = 0.0
    drift: float = 0.0

    def observe(self, gradients: Tensor) -> None:
        """gradients: [B, P] of a step's pictures by the noise loss, in spreads of the word."""
        self.steps += 1
        for gradient in gradients.detach().cpu().double():
            if not self.count:
                self.total = torch.zeros_like(gradient)
            product = float(gradient @ self.total)
            self.total = self.total + gradient
            self.squares += float(gradient @ gradient)
            self.products += product
            self.spread += product**2
            self.drift += product * self.count
            self.count += 1

    @property
    def sure(self) -> bool:
        """Whether the signal is known well enough."""
        return self.signal > SURE * self.error

    @property
    def signal(self) -> float:
        """Its square, in spreads of the word; below 0 by chance."""
        return self.products / self.pairs if self.pairs else 0.0

    @property
    def noise(self) -> float:
        """The square of how far a single gradient is from what all have in common, on average."""
        return self.squares / self.count - self.signal if self.count else 0.0

    @property
    def error(self) -> float:
        """The standard error of `signal`."""
        before = self.pairs * (2 * self.count - 1) / 3  # the sum of 0^2, 1^2 and so on
        chance = self.spread - 2 * self.signal * self.drift + self.signal**2 * before
        return math.sqrt(max(chance, 0.0)) / self.pairs if self.pairs else 0.0

    @property
    def pairs(self) -> float:
        """Of different pictures."""
        return self.count * (self.count - 1) / 2

    @property
    def signal_to_noise(self) -> float:
        """Of one picture; 0 where nothing can be told from chance."""
        return self.as_ratio(self.signal)

    @property
    def most_signal_to_noise(self) -> float:
        """What it may be, with what chance may hide."""
        return self.as_ratio(self.signal + SOME * self.error)

    def as_ratio(self, signal: float) -> float:
        """signal: squared."""
        if self.count < 2 or not self.squares:
            return 0.0
        return math.sqrt(max(signal, 0.0) / self.noise) if self.noise > 0 else math.inf

    @property
    def sure_of_some(self) -> bool:
        """Whether there is a signal at all."""
        return self.signal > SOME * self.error

    @property
    def pull(self) -> float:
        """How hard the noise loss pulls at the tokens, in spreads of the word: the length of what pictures have in
        common, or of what it may be where chance hides it."""
        return math.sqrt(max(self.signal, self.error))

    def tensors(self) -> dict[str, Tensor]:
        """All of it, for going on later."""
        numbers = self.count, self.steps, self.squares, self.products, self.spread, self.drift
        return {"total": self.total, "numbers": torch.tensor(numbers, dtype=torch.float64)}

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor]) -> "SignalMeter":
        """From its tensors."""
        count, steps, squares, products, spread, drift = tensors["numbers"].tolist()
        return cls(tensors["total"], int(count), int(steps), squares, products, spread, drift)
