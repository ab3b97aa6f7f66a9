"""The CLIP score: how far a picture shows what a text says, as the cosine of CLIP's embeddings of both.

Text encoder and image encoder must be the two halves of one CLIP, the text encoder with its projection. Checkpoints
often leave that away: SD1.x has none, and what the host then gives is no score. So it is tried on a photo first.

Shapes: n texts, B pictures, E numbers an embedding.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from comfy.clip_vision import ClipVisionModel
from comfy.sd import CLIP
from torch import Tensor

from .clip import UnsupportedModel, text_towers
from .messages import warn
from .tokenizer import PromptTokenizer
from .towers import ClipTower

DESCRIPTION = "a photo of a person"
UNRELATED = "a bowl of fruit", "a page of printed text", "an empty street at night"  # what no portrait shows
BELONG = 0.1  # two halves of one CLIP give any photo and its description more
PAIRS = (
    "Load the two halves of one CLIP: clip_l with CLIP-ViT-L-14, SD2.x's text encoder (or clip_h) with CLIP-ViT-H-14 "
    "(IPAdapter's), SDXL's clip_g with CLIP-ViT-bigG-14."
)


@dataclass(frozen=True)
class PromptScores:
    """each: of the pictures with their text. unrelated: their mean with texts that say something else."""

    each: tuple[float, ...]
    unrelated: float


def prompt_scores(
    clip: CLIP, clip_vision: ClipVisionModel, text: str, images: Iterable[Tensor], photos: Iterable[Tensor]
) -> PromptScores:
    """CLIP scores of pictures [H, W, 3] with the text they were painted with. photos: of people [H, W, 3], on which the
    encoders are tried; it is said if they cannot be of one CLIP.

    Raises ValueError with a sentence for encoders whose embeddings do not fit.
    """
    warn_of_placeholders(clip, text)
    texts = embed_texts(clip, [text, *UNRELATED, DESCRIPTION])
    painted, known = embed_images(clip_vision, images), embed_images(clip_vision, photos)
    own, *unrelated, _ = clip_scores(texts, painted)
    if (likest := float(clip_scores(texts[-1:], known).max())) < BELONG:
        warn(
            f"The prompt figures mean nothing: to these encoders a photo is not like its description ({likest:.2f}). "
            "Either they are not of one CLIP, or the text encoder lacks its projection, as those of SD1.x checkpoints "
            f"do. {PAIRS}"
        )
    return PromptScores(tuple(own.tolist()), float(torch.stack(unrelated).mean()))


@torch.inference_mode()
def embed_texts(clip: CLIP, texts: Sequence[str]) -> Tensor:
    """[n, E], of length 1. A persona's placeholder counts as its common word if `clip` is from Apply.

    Raises UnsupportedModel with a sentence for another text encoder than those of SD1.x, SD2.x and SDXL.
    """
    tower = text_towers(clip).towers[-1]  # of SDXL's two, whose pooled output the host gives
    if not isinstance(tower, ClipTower):
        raise UnsupportedModel(f"The prompt figures need a CLIP's text encoder; this one is a language model. {PAIRS}")
    pooled = torch.cat([clip.encode_from_tokens(clip.tokenize(text), return_pooled=True)[1] for text in texts])
    if not tower.model.return_projected_pooled:  # SD1.x and a clip_l alone
        projection = tower.model.transformer.text_projection.weight
        pooled = pooled.float().cpu() @ projection.float().cpu().T
    return normalized(pooled)


@torch.inference_mode()
def embed_images(clip_vision: ClipVisionModel, images: Iterable[Tensor]) -> Tensor:
    """[B, E], of length 1, of pictures [H, W, 3] in 0..1."""
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


def warn_of_placeholders(clip: CLIP, text: str) -> None:
    """Say it where the text holds what looks like a placeholder and the CLIP has not been told of any."""
    found = re.findall(r"<\w+>", text)
    if found and not isinstance(clip.tokenizer, PromptTokenizer):
        warn(
            f"{' and '.join(dict.fromkeys(found))} in the text is mere letters to this clip. Wire in the persona, "
            "whose common word then stands there, or write that word yourself."
        )
