"""Muon: momentum made orthogonal, so that every direction of a weight learns equally fast. AdamW for what is no matrix.

Of Keller Jordan and others (2024). On these small networks it needs about half of AdamW's steps. Nothing in a step
waits for a GPU, which may therefore replay it as a graph.
"""

from __future__ import annotations

import torch
from torch import Tensor

QUICK = torch.cpu._is_avx512_bf16_supported()


def orthogonal(x: Tensor, rounds: int = 5) -> Tensor:
    """About the nearest matrices with equal singular values, by Newton and Schulz: [count, rows, columns]."""
    a, b, c = 3.4445, -4.7750, 2.0315
    tall = x.shape[1] > x.shape[2]
    x = x.mT if tall else x
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    x = x.bfloat16() if QUICK or x.is_cuda else x  # half the time, and as equal
    for _ in range(rounds):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x.mT if tall else x).float()


class Muon(torch.optim.Optimizer):
    """Groups: {"params", "muon": bool}. The rate is AdamW's; a matrix moves by `rate` times 0.2 sqrt(larger side)."""

    def __init__(self, weights: list[Tensor], decay: float = 0.01, betas=(0.9, 0.99)):
        matrices = [w for w in weights if w.ndim >= 2 and min(w.shape[0], w[0].numel()) >= 16]
        rest = [w for w in weights if not any(w is matrix for matrix in matrices)]
        groups = [{"params": matrices, "muon": True}, {"params": rest, "muon": False}]
        super().__init__([g for g in groups if g["params"]], {"decay": decay, "betas": betas})

    @torch.no_grad()
    def step(self, rate: Tensor) -> None:
        """rate: []."""
        for group in self.param_groups:
            weights = [weight for weight in group["params"] if weight.grad is not None]
            moves = (self.turned if group["muon"] else self.scaled)(weights, group["betas"])
            torch._foreach_mul_(moves, rate)
            planes = [weight for weight in weights if weight.ndim >= 2]
            if planes:
                torch._foreach_mul_(planes, 1 - rate * group["decay"])
            torch._foreach_sub_(weights, moves)

    def kept(self, weights: list[Tensor], name: str) -> list[Tensor]:
        for weight in weights:
            if name not in self.state[weight]:
                self.state[weight][name] = torch.zeros_like(weight) if name != "step" else weight.new_zeros(())
        return [self.state[weight][name] for weight in weights]

    def turned(self, weights: list[Tensor], _) -> list[Tensor]:
        grads, means = [weight.grad for weight in weights], self.kept(weights, "mean")
        torch._foreach_lerp_(means, grads, 0.05)
        moves = list(torch._foreach_lerp(grads, means, 0.95))
        alike: dict[tuple, list[int]] = {}
        for i, weight in enumerate(weights):
            alike.setdefault((weight.shape[0], weight[0].numel()), []).append(i)
        for shape, rows in alike.items():
            found = orthogonal(torch.stack([moves[i].flatten(1) for i in rows])) * (0.2 * max(shape) ** 0.5)
            for i, move in zip(rows, found):
                moves[i] = move.view_as(weights[i])
        return moves

    def scaled(self, weights: list[Tensor], betas: tuple[float, float]) -> list[Tensor]:
        grads, means, squares = [w.grad for w in weights], self.kept(weights, "mean"), self.kept(weights, "square")
        steps = self.kept(weights, "step")
        torch._foreach_add_(steps, 1)
        torch._foreach_lerp_(means, grads, 1 - betas[0])
        torch._foreach_lerp_(squares, torch._foreach_mul(grads, grads), 1 - betas[1])
        first, second = 1 - betas[0] ** steps[0], 1 - betas[1] ** steps[0]
        sizes = torch._foreach_sqrt(torch._foreach_div(squares, second))
        torch._foreach_add_(sizes, 1e-8)
        return list(torch._foreach_div(torch._foreach_div(means, first), sizes))
