"""Pictures [H, W, 3] in 0..1 to and from Pillow."""

import numpy as np
import torch
from PIL import Image
from torch import Tensor


def to_pil(image: Tensor) -> Image.Image:
    return Image.fromarray((image.numpy() * 255).round().clip(0, 255).astype(np.uint8))


def from_pil(picture: Image.Image) -> Tensor:
    return torch.from_numpy(np.asarray(picture).astype(np.float32) / 255)
