"""Muon: momentum made orthogonal, so that every direction of a weight learns equally fast. AdamW for what is no matrix.

Of Keller Jordan and others (2024). On these small networks it needs about half of AdamW's steps.
"""

from __future__ import annotations

import torch
from torch import Tensor

QUICK = torch.cpu._is_avx512_bf16_supported()


def orthogonal(x: Tensor, rounds: int = 5) -> Tensor:
    """About the nearest matrix with equal singular values, by Newton and Schulz: [rows, columns]."""
    a, b, c = 3.4445, -4.7750, 2.0315
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    x = x / (x.norm() + 1e-7)
    x = x.bfloat16() if QUICK else x  # half the time, and as equal
    for _ in range(rounds):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x.T if tall else x).float()


class Muon(torch.optim.Optimizer):
    """Groups: {"params", "muon": bool}. The rate is AdamW's; a matrix moves by `rate` times 0.2 sqrt(larger side)."""

    def __init__(self, weights: list[Tensor], rate: float, decay: float = 0.01, betas=(0.9, 0.99)):
        matrices = [w for w in weights if w.ndim >= 2 and min(w.shape[0], w[0].numel()) >= 16]
        rest = [w for w in weights if not any(w is matrix for matrix in matrices)]
        groups = [{"params": matrices, "muon": True}, {"params": rest, "muon": False}]
        super().__init__([g for g in groups if g["params"]], {"lr": rate, "decay": decay, "betas": betas})

    @torch.no_grad()
    def step(self) -> None:
        for group in self.param_groups:
            first, second = group["betas"]
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                state["step"] = state.get("step", 0) + 1
                if group["muon"]:
                    mean = state.setdefault("mean", torch.zeros_like(weight)).lerp_(weight.grad, 0.05)
                    move = orthogonal(weight.grad.lerp(mean, 0.95).flatten(1)).view_as(weight)
                    move *= 0.2 * max(weight.shape[0], weight[0].numel()) ** 0.5
                else:
                    mean = state.setdefault("mean", torch.zeros_like(weight)).lerp_(weight.grad, 1 - first)
                    square = state.setdefault("square", torch.zeros_like(weight))
                    square.lerp_(weight.grad**2, 1 - second)
                    mean = mean / (1 - first ** state["step"])
                    move = mean / ((square / (1 - second ** state["step"])).sqrt() + 1e-8)
                if weight.ndim >= 2:
                    weight.mul_(1 - group["lr"] * group["decay"])
                weight.add_(move, alpha=-group["lr"])
