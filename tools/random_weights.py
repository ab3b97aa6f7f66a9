"""Seeded random weights that share a few blocks of memory, so that a file of millions is small."""

import math

import torch
from torch import Tensor

BLOCK = 2**17  # numbers per block of noise: more makes the file larger and rows overlap less


class Noise:
    """Hands out random tensors that share a few blocks of memory, one block per standard deviation."""

    def __init__(self, seed: int):
        self.generator = torch.Generator().manual_seed(seed)
        self.blocks = {}

    def __call__(self, *shape: int, std: float) -> Tensor:
        """A tensor with overlapping rows; std is met within a factor of 2 ** 0.25."""
        level = round(2 * math.log2(std))
        if level not in self.blocks:
            self.blocks[level] = (torch.randn(BLOCK, generator=self.generator) * 2 ** (level / 2)).half()
        rows, row = shape[0], math.prod(shape[1:])
        # At most half of the block, so that tensors of one shape can begin at different places.
        stride = min((BLOCK - row) // rows // 2, row) | 1
        start = torch.randint(BLOCK - row - stride * (rows - 1), (1,), generator=self.generator).item()
        inner = torch.empty(shape, device="meta").stride()[1:]
        return self.blocks[level].as_strided(shape, (stride, *inner), start)


def constant(value: float, *shape: int) -> Tensor:
    return torch.tensor(value).half().expand(shape)


class StateDict(dict):
    """A state dict that is filled layer by layer. gain 1 keeps the spread of unit noise."""

    def __init__(self, seed: int):
        self.noise = Noise(seed)

    def weight(self, name: str, *shape: int, gain: float = 1.0, bias: bool = True) -> None:
        self[f"{name}.weight"] = self.noise(*shape, std=gain / math.prod(shape[1:]) ** 0.5)
        if bias:
            self[f"{name}.bias"] = constant(0, shape[0])

    def norm(self, name: str, channels: int) -> None:
        self[f"{name}.weight"], self[f"{name}.bias"] = constant(1, channels), constant(0, channels)
