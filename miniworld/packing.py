"""Weights in few bytes: matrices in 8 bits, each row with a scale of its own.

A weight is off by at most a 254th of the largest in its row, and half of fp16's bytes leave room for twice the weights.
"""

from __future__ import annotations

import torch
from torch import Tensor

SCALE = ".scale"


def pack(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Matrices [rows, ...] as int8 with NAME.scale [rows], vectors as fp16, numbers as they are."""
    packed = {}
    for name, value in tensors.items():
        if value.is_floating_point() and value.ndim >= 2:
            scale = value.detach().float().flatten(1).abs().amax(1).clamp(min=1e-8) / 127
            packed[name + SCALE] = scale
            value = (value.detach().float() / scale.view(-1, *[1] * (value.ndim - 1))).round().to(torch.int8)
        packed[name] = (value.detach().half() if value.is_floating_point() else value).contiguous().clone()
    return packed


def unpack(packed: dict[str, Tensor]) -> dict[str, Tensor]:
    """What `pack` was given, in float32."""
    tensors = {}
    for name, value in packed.items():
        if name + SCALE in packed:
            value = value.float() * packed[name + SCALE].view(-1, *[1] * (value.ndim - 1))
        if not name.endswith(SCALE):
            tensors[name] = value.float() if value.is_floating_point() else value
    return tensors
