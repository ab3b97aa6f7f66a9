"""The flow painter's text encoder: the host's own of Z-Image (Qwen3's class, its template), but small."""

from __future__ import annotations

import functools

import comfy.sd
import comfy.supported_models_base
import torch
import torch.nn.functional as F
from comfy.text_encoders.z_image import ZImageTEModel, ZImageTokenizer
from torch import Tensor

WIDTH, TOKENS = 256, 151936
WORD = 0.48  # the length of every word's vector: 0.03 a number
# Of the layers the last but one makes the context, as in Z-Image; the last has no weights on disk.
TEXT = dict(
    hidden_size=WIDTH, num_hidden_layers=5, num_attention_heads=4, num_key_value_heads=2, intermediate_size=3 * WIDTH
)
PREFIX = "qwen3_4b.transformer.model."
WORDS = PREFIX + "embed_tokens.weight"


def build_clip(embeddings: str | None = None) -> comfy.sd.CLIP:
    """The host's CLIP. Its weights are whatever lay in memory. embeddings: the folder of the host's embeddings."""
    target = comfy.supported_models_base.ClipTarget(ZImageTokenizer, ZImageTEModel)
    options = {"dtype": torch.float32, "qwen3_4b_model_config": dict(TEXT)}
    return comfy.sd.CLIP(target, embedding_directory=embeddings, model_options=options)


@functools.cache
def all_words() -> Tensor:
    """[TOKENS, WIDTH]: what every word is before anything is learned, and what those stay that no caption uses."""
    return WORD * F.normalize(torch.randn(TOKENS, WIDTH, generator=torch.Generator().manual_seed(0)), dim=-1)


def load_text(clip: comfy.sd.CLIP, tensors: dict[str, Tensor]) -> None:
    """Put the tensors of training's text encoder into a CLIP.

    Words that captions do not use are seeded: a prompt may hold any word.
    """
    words = all_words().clone()
    words[tensors["words"]] = tensors[WORDS].float()
    text = {key: value for key, value in tensors.items() if key.startswith(PREFIX)} | {WORDS: words}
    missing, unexpected = clip.cond_stage_model.load_state_dict(text, strict=False)
    unused = (f"{PREFIX}layers.{TEXT['num_hidden_layers'] - 1}.", f"{PREFIX}norm.", "qwen3_4b.logit_scale")
    if unexpected or not all(name.startswith(unused) for name in missing):
        raise ValueError(f"not a text encoder of this world: {missing} {unexpected}")
    with torch.no_grad():
        for name, weight in clip.cond_stage_model.named_parameters():
            if name in missing:  # whatever lay in memory might be no number
                weight.fill_(float(weight.ndim == 1))
