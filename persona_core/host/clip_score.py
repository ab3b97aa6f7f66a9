"""The CLIP score: how far a picture shows what a text says, as the cosine of CLIP's embeddings of both.

Text encoder and image encoder must be the two halves of one CLIP, the text encoder with its projection. Checkpoints
often leave that away: SD1.x has none, and what the host then gives is no score. So it is tried on a picture first.
"""

from collections.abc import Sequence

import torch
from comfy.clip_vision import ClipVisionModel
from comfy.sd import CLIP
from torch import Tensor

from .messages import warn

UNRELATED = "a bowl of fruit", "a page of printed text", "an empty street at night"  # what no portrait shows
BELONG = 0.1  # two halves of one CLIP give any photo and its description more

PAIRS = (
    "Load the two halves of one CLIP: clip_l with CLIP-ViT-L-14, SD2.x's text encoder (or clip_h) with CLIP-ViT-H-14 "
    "(IPAdapter's), SDXL's clip_g with CLIP-ViT-bigG-14."
)


@torch.inference_mode()
def embed_texts(clip: CLIP, texts: Sequence[str]) -> Tensor:
    """[n, E], of length 1. A persona's placeholder counts as its common word if `clip` is from Apply."""
    pooled = [clip.encode_from_tokens(clip.tokenize(text), return_pooled=True)[1] for text in texts]
    return normalized(torch.cat(pooled))


@torch.inference_mode()
def embed_images(clip_vision: ClipVisionModel, images: Tensor) -> Tensor:
    """[B, E], of length 1, of pictures [B, H, W, 3] in 0..1."""
    return normalized(torch.cat([clip_vision.encode_image(one[None])["image_embeds"] for one in images]))


def normalized(embeddings: Tensor) -> Tensor:
    return torch.nn.functional.normalize(embeddings.float().cpu(), dim=-1)


def clip_scores(texts: Tensor, images: Tensor) -> Tensor:
    """[n, B] of embeddings [n, E], [B, E]. Raises ValueError with a sentence for two that are of no one CLIP."""
    if texts.shape[-1] != images.shape[-1]:
        raise ValueError(
            f"clip and clip_vision do not belong together: their embeddings have {texts.shape[-1]} and "
            f"{images.shape[-1]} numbers. {PAIRS}"
        )
    scores = texts @ images.T
    if not scores.isfinite().all():
        raise ValueError(f"clip gives no embedding of a text: it lacks its projection. {PAIRS}")
    return scores


def warn_of_strangers(scores: Tensor) -> None:
    """Say it where CLIP scores [n, B] of photos and their descriptions show that the encoders are of no one CLIP."""
    if scores.max() < BELONG:
        warn(
            "The prompt figures mean nothing: to these encoders a photo is not like its description "
            f"({float(scores.max()):.2f}). Either they are not of one CLIP, or the text encoder lacks its projection, "
            f"as those of SD1.x checkpoints do. {PAIRS}"
        )
