"""Scenes drawn to bytes, as training keeps them, and bytes to what is computed with."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .render import boxes, render
from .scene import Scene

SIZE, MASK = 128, 32  # pixels of a picture's side, and of a mask's


def draw(scenes: list[Scene], block: int = 64) -> tuple[Tensor, Tensor, Tensor]:
    """Pictures [N, SIZE, SIZE, 3] uint8, how much is head [N, 2, MASK, MASK] uint8, boxes [N, 2, 4] (0: nobody)."""
    found = []
    for start in range(0, len(scenes), block):
        pictures, masks = render(scenes[start : start + block], SIZE)
        nobody = masks.new_zeros(len(masks), 2 - masks.shape[1], SIZE, SIZE)
        masks = torch.cat([masks, nobody], 1)
        coarse = F.avg_pool2d(masks.float(), SIZE // MASK)
        found.append((as_bytes(pictures.movedim(1, -1)), as_bytes(coarse), boxes(masks).short()))
    return tuple(torch.cat(parts) for parts in zip(*found))


def as_bytes(x: Tensor) -> Tensor:
    return x.clamp(0, 1).mul(255).round().byte()


def floats(pictures: Tensor) -> Tensor:
    """[B, h, w, 3] uint8 to [B, 3, h, w] in 0..1, channels last in memory, as convolutions like it."""
    return pictures.movedim(-1, 1).float().div(255)
