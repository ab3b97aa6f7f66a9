"""The text encoder: the host's own CLIP text model (SD1's clip_l), but small."""

from __future__ import annotations

import functools

import comfy.sd
import comfy.sd1_clip
import comfy.supported_models_base
import torch
import torch.nn.functional as F
from torch import Tensor

WIDTH, LENGTH, TOKENS = 192, 77, 49408
WORD = 0.39  # the length of every word's vector, as CLIP-L's have it on average
TEXT = dict(
    hidden_size=WIDTH, num_hidden_layers=4, num_attention_heads=6, intermediate_size=4 * WIDTH, projection_dim=WIDTH
)
PREFIX = "clip_l.transformer.text_model."
WORDS = PREFIX + "embeddings.token_embedding.weight"
UNUSED = "clip_l.transformer.text_projection.weight", "clip_l.logit_scale"


def build_clip(embeddings: str | None = None) -> comfy.sd.CLIP:
    """The host's CLIP. Its weights are whatever lay in memory. embeddings: the folder of the host's embeddings."""
    target = comfy.supported_models_base.ClipTarget(comfy.sd1_clip.SD1Tokenizer, comfy.sd1_clip.SD1ClipModel)
    options = {"dtype": torch.float32, "clip_l_model_config": dict(TEXT)}
    return comfy.sd.CLIP(target, embedding_directory=embeddings, model_options=options)


@functools.cache
def all_words() -> Tensor:
    """[TOKENS, WIDTH]: what every word is before anything is learned, and what those stay that no caption uses."""
    return WORD * F.normalize(torch.randn(TOKENS, WIDTH, generator=torch.Generator().manual_seed(0)), dim=-1)


def load_text(clip: comfy.sd.CLIP, tensors: dict[str, Tensor]) -> None:
    """Put the tensors of training's TextEncoder into a CLIP.

    Words that captions do not use are seeded: a prompt may hold any word.
    """
    words = all_words().clone()
    words[tensors["words"]] = tensors[WORDS]
    text = {key: value for key, value in tensors.items() if key.startswith("clip_l.")} | {WORDS: words}
    missing, unexpected = clip.cond_stage_model.load_state_dict(text, strict=False)
    if unexpected or set(missing) - set(UNUSED):
        raise ValueError(f"not a text encoder of this world: {missing} {unexpected}")
    clip.cond_stage_model.clip_l.transformer.text_projection.weight.data.copy_(torch.eye(WIDTH))
