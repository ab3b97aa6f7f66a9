"""Contact sheets: many small pictures as one."""

from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import pad

QUALITY = 85  # of a JPEG


def sheet(pictures: Tensor, columns: int, path: Path, enlarge: int = 2) -> None:
    """Write pictures [B, 3, H, W] in 0..1, row by row with a white line between, as PNG or JPEG."""
    pictures = torch.cat([pictures, torch.ones(-len(pictures) % columns, *pictures.shape[1:])])
    pictures = pad(pictures, (1, 1, 1, 1), value=1.0)
    grid = torch.cat([torch.cat(list(row), 2) for row in pictures.split(columns)], 1)
    image = Image.fromarray(grid.clamp(0, 1).mul(255).round().byte().movedim(0, -1).contiguous().numpy())
    path.parent.mkdir(parents=True, exist_ok=True)
    image.resize((enlarge * image.width, enlarge * image.height), Image.Resampling.BICUBIC).save(path, quality=QUALITY)
