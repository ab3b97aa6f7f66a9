"""Contact sheets: many small pictures as one PNG with hard pixels."""

from pathlib import Path

import numpy as np
import torch
from einops import rearrange
from PIL import Image
from torch import Tensor


def sheet(pictures: Tensor, columns: int, path: Path, enlarge: int = 4) -> None:
    """Write pictures [B, 3, H, W] in 0..1, row by row with a white line between."""
    rest = -len(pictures) % columns
    pictures = torch.cat([pictures, torch.ones(rest, *pictures.shape[1:])])
    pictures = torch.nn.functional.pad(pictures, (1, 1, 1, 1), value=1.0)
    grid = rearrange(pictures, "(rows columns) c h w -> (rows h) (columns w) c", columns=columns)
    grid = grid.clamp(0, 1).mul(255).round().byte().numpy()
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.ascontiguousarray(grid.repeat(enlarge, 0).repeat(enlarge, 1))).save(path)
