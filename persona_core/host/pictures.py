"""Photos and masks as learning takes them: cropped, sized, in the latent space of the VAE."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from .telling import warn

WHITE = 0.95  # of a picture's numbers: a thing photographed before a white wall has fewer
EMPTY = 64, 64  # Load Image's mask of a picture without transparency


@dataclass(frozen=True)
class Photo:
    """One reference: image [H, W, 3] in 0..1 and its soft mask [H, W] in 0..1."""

    image: Tensor
    mask: Tensor

    def crop(self, box: tuple[int, int, int, int]) -> "Photo":
        """The part x0, y0, x1, y1."""
        x0, y0, x1, y1 = box
        return Photo(self.image[y0:y1, x0:x1], self.mask[y0:y1, x0:x1])

    def resized(self, resolution: int, multiple: int) -> "Photo":
        """About resolution x resolution pixels in the photo's own shape, in multiples of `multiple`."""
        height, width = fit(*self.image.shape[:2], resolution, multiple)
        image = resize(rearrange(self.image, "h w c -> 1 c h w"), height, width)
        mask = resize(rearrange(self.mask, "h w -> 1 1 h w"), height, width)
        return Photo(rearrange(image, "1 c h w -> h w c"), rearrange(mask, "1 1 h w -> h w"))

    def mirrored(self) -> "Photo":
        return Photo(self.image.flip(1), self.mask.flip(1))


def rgb(images: Tensor) -> Tensor:
    """Pictures [M, H, W, C] of one (grey), two (grey, alpha), three or four channels as [M, H, W, 3]."""
    warn_of_white(images[..., :3])
    return images[..., :1].expand(*images.shape[:-1], 3) if images.shape[-1] < 3 else images[..., :3]


def warn_of_white(images: Tensor) -> None:
    for index, image in enumerate(images):
        if (image >= 1).float().mean() > WHITE:
            warn(
                f"Picture {index} is almost nothing but white. Some ComfyUIs read grey PNG files of 16 bit so: if it "
                "is one, save it with 8 bit."
            )


def photos(images: Tensor, masks: Tensor | None) -> list[Photo]:
    """Pair pictures [M, H, W, 3] with masks [M, H, W] (one may serve all; None: whole pictures).

    Raises ValueError if sizes do not match or a mask is empty.
    """
    if masks is None:
        masks = torch.ones(images.shape[:3])
    if masks.ndim == 2:
        masks = masks[None]
    if len(masks) not in (1, len(images)):
        raise ValueError(
            f"There are {len(images)} pictures but {len(masks)} masks. Give one mask for each picture, or one for all."
        )
    if masks.shape[1:] != images.shape[1:3]:
        (height, width), (rows, columns) = images.shape[1:3], masks.shape[1:]
        if (rows, columns) == EMPTY and not masks.any():
            raise ValueError(
                "The mask is empty: Load Image gives such a one for a photo without transparency. Leave the mask away, "
                "or use Face Mask's, or paint one in Load Image's mask editor."
            )
        raise ValueError(
            f"The mask is {columns}x{rows} pixels but the picture is {width}x{height}. Use a mask of the picture's "
            "size, for instance from Face Mask."
        )
    masks = masks.clamp(0, 1).expand(len(images), -1, -1)
    for index, mask in enumerate(masks):
        if mask.max() < 0.05:
            raise ValueError(
                f"The mask of picture {index} is all black: nothing of the picture would be learned. "
                "Paint the face white."
            )
    return [Photo(image, mask) for image, mask in zip(rgb(images), masks)]


def coarsest_cell(model, vae) -> int:
    """How many pixels a side one cell of the UNet's lowest level covers: 64 for SD1.x and SD2.x."""
    levels = len(model.model.model_config.unet_config["channel_mult"])
    return vae.spacial_compression_encode() * 2 ** (levels - 1)


def fit(height: int, width: int, resolution: int, multiple: int) -> tuple[int, int]:
    """A size of the same shape with about resolution^2 pixels, in multiples of `multiple`."""
    scale = resolution / (height * width) ** 0.5
    return tuple(max(multiple, round(side * scale / multiple) * multiple) for side in (height, width))


def resize(pictures: Tensor, height: int, width: int) -> Tensor:
    """[B, C, H, W] in 0..1 to another size."""
    return F.interpolate(pictures, (height, width), mode="bicubic", antialias=True).clamp(0, 1)


def encode(model, vae, pictures: Sequence[Photo]) -> tuple[Tensor, Tensor]:
    """Latents [M, C, h, w] as the UNet takes them, and masks [M, 1, h, w] at their size."""
    latents = model.model.process_latent_in(vae.encode(torch.stack([photo.image for photo in pictures])))
    masks = rearrange(torch.stack([photo.mask for photo in pictures]), "m h w -> m 1 h w")
    return latents.clone(), F.interpolate(masks, latents.shape[-2:], mode="area").to(latents)
