"""How much of what single pictures say to the tokens is the same in all of them, and how much is chance.

Shapes: n pictures, B of them in a step, P numbers of all tokens.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

# Standard errors that a signal is long, to be known well enough, as passes go by its square; and to be one at all.
SURE, SOME = 5.0, 2.0


class SignalMeter:
    """Signal and noise of single pictures' gradients at the tokens.

    It must look while nothing moves: where chance has moved a token, the next gradients pull it back, against what they
    would have in common with the last ones.
    gradients: [n, P], in spreads of the word. products: [n, n] of each with each; where they are of two, noise has no
    part in them but by chance. steps: that the pictures were in.
    """

    def __init__(self) -> None:
        self.gradients, self.products, self.steps = torch.zeros(0, 0), torch.zeros(0, 0, dtype=torch.float64), 0

    def observe(self, gradients: Tensor) -> None:
        """gradients: [B, P] of a step's pictures by the noise loss, in spreads of the word."""
        self.steps += 1
        self.add(gradients.detach().cpu().float())

    def add(self, gradients: Tensor) -> None:
        known = self.gradients if self.count else gradients[:0]
        self.gradients = torch.cat([known, gradients])
        new = gradients.double() @ self.gradients.double().T
        self.products = torch.cat([torch.cat([self.products, new[:, : len(known)].T], 1), new])

    @property
    def count(self) -> int:
        """Of pictures."""
        return len(self.gradients)

    @property
    def pairs(self) -> float:
        """Of different pictures."""
        return self.count * (self.count - 1) / 2

    @property
    def signal(self) -> float:
        """Its square, in spreads of the word; below 0 by chance."""
        return self.products.tril(-1).sum().item() / self.pairs if self.pairs else 0.0

    @property
    def noise(self) -> float:
        """The square of how far a single gradient is from what all have in common, on average."""
        return self.products.trace().item() / self.count - self.signal if self.count else 0.0

    @property
    def error(self) -> float:
        """The standard error of `signal`: by how much each picture's products with those before it differ from it."""
        apart = self.products.tril(-1).sum(1) - self.signal * torch.arange(self.count)
        return apart.norm().item() / self.pairs if self.pairs else 0.0

    @property
    def directions(self) -> float:
        """How many chance has, as if it were as strong in each of them and did not exist in others: the participation
        ratio of its covariance's eigenvalues, their sum's square by the sum of their squares."""
        count = self.count
        if count < 3:
            return math.inf
        # Without what lies in the direction of the pictures' mean: that is the signal, and how its strength differs.
        mean = self.products.sum(1)
        chance = self.products - torch.outer(mean, mean) / mean.sum()
        noise = chance.trace().item() / (count - 1)
        # The rest adds up to nothing, so that each is against all others, a little.
        squares = (chance + noise / count).tril(-1).square().sum().item() / self.pairs
        squares /= (1 - 1 / count) ** 2 + 1 / count**2
        return noise**2 / squares - 2 / (count - 1) if noise > 0 and squares else math.inf

    @property
    def sure(self) -> bool:
        """Whether the signal is known well enough."""
        return self.signal > SURE * self.error

    @property
    def sure_of_some(self) -> bool:
        """Whether there is a signal at all."""
        return self.signal > SOME * self.error

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
        if self.count < 2 or not self.products.trace():
            return 0.0
        return math.sqrt(max(signal, 0.0) / self.noise) if self.noise > 0 else math.inf

    @property
    def pull(self) -> float:
        """How hard the noise loss pulls at the tokens, in spreads of the word: the length of what pictures have in
        common, or of what it may be where chance hides it."""
        return math.sqrt(max(self.signal, self.error))

    def tensors(self) -> dict[str, Tensor]:
        """All of it, for going on later."""
        return {"gradients": self.gradients, "steps": torch.tensor(self.steps)}

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor]) -> "SignalMeter":
        """From its tensors."""
        meter = cls()
        meter.steps = int(tensors["steps"])
        meter.add(tensors["gradients"])
        return meter
