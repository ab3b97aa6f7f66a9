"""The flow painter's text encoder with gradients, and the host's tokens of captions for it.

Shapes: B captions, L tokens, qwen.WIDTH numbers each; U tokens that captions use.
"""

from __future__ import annotations

import functools

import comfy.sd
import torch
import torch.nn.functional as F
from comfy.text_encoders.llama import precompute_freqs_cis
from torch import Tensor, nn

from ..qwen import PREFIX, TOKENS, WIDTH, WORD, WORDS, all_words, load_text
from .attention import heads_apart


class Tokenizer:
    """The host's tokens of captions, a word at a time."""

    def __init__(self, clip: comfy.sd.CLIP):
        host = clip.tokenizer.qwen3_4b
        before, after = clip.tokenizer.llama_template.split("{}")
        self.before, self.after = (host.tokenizer(text)["input_ids"] for text in (before, after))
        self.pad = host.pad_token
        self.word = functools.cache(lambda word: host.tokenizer(word)["input_ids"])

    def ids(self, words: list[str]) -> tuple[list[int], list[int]]:
        """Of a caption in the template, and where each word ends."""
        found, ends = list(self.before), []
        for index, word in enumerate(words):
            found += self.word(word if word == "," or index == 0 else f" {word}")
            ends.append(len(found) - 1)
        return found + self.after, ends


class QwenEncoder(nn.Module):
    """The layers of the host's text encoder that make the context, and the words that are learned."""

    def __init__(self, clip: comfy.sd.CLIP, used: Tensor):
        super().__init__()
        model = clip.cond_stage_model.qwen3_4b.transformer.model
        self.config, self.layers = model.config, model.layers[:-1]
        self.register_buffer("used", used)
        # Flat, so that the optimizer sees no matrix; only the direction of each [WIDTH] counts.
        self.directions = nn.Parameter((0.05 / WORD * WIDTH**0.5 * all_words()[used]).flatten())
        self.row = torch.full((TOKENS,), -1)
        self.row[used] = torch.arange(len(used))
        start(self)

    @classmethod
    def loaded(cls, clip: comfy.sd.CLIP, tensors: dict[str, Tensor]) -> QwenEncoder:
        """Of `tensors`, into the CLIP, too; it learns no more."""
        encoder = cls(clip, tensors["words"])
        load_text(clip, tensors)
        with torch.no_grad():
            encoder.directions.copy_(tensors[WORDS].float().flatten())
        return encoder.requires_grad_(False)

    def words(self) -> Tensor:
        """[U, WIDTH], each of length WORD."""
        return WORD * F.normalize(self.directions.view(-1, WIDTH), dim=-1)

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens [B, L] to contexts [B, L, WIDTH], as the host makes them; what stands behind a caption changes
        nothing."""
        rows = self.row[tokens]
        x = torch.where((rows < 0)[..., None], all_words()[tokens], self.words()[rows.clamp(min=0)])
        length = x.shape[1]
        where = torch.arange(length)[None]
        turns = precompute_freqs_cis(self.config.head_dim, where, self.config.rope_theta)
        causal = torch.full((length, length), -1e4).triu(1)
        for layer in self.layers:
            x = layer(x, attention_mask=causal, freqs_cis=turns, optimized_attention=heads_apart)
        return x

    def tensors(self) -> dict[str, Tensor]:
        """As qwen.load_text takes them, under the host's names."""
        state = self.state_dict()
        used, _ = state.pop("used"), state.pop("directions")
        return {PREFIX + name: value for name, value in state.items()} | {WORDS: self.words().detach(), "words": used}


@torch.no_grad()
def start(encoder: QwenEncoder) -> None:
    """Seeded first weights; every block begins faintly."""
    generator = torch.Generator().manual_seed(0)
    for name, weight in encoder.named_parameters():
        if weight.ndim == 2:
            scale = 0.2 if name.endswith(("o_proj.weight", "down_proj.weight")) else 1.0
            weight.copy_(scale * torch.randn(weight.shape, generator=generator) / weight.shape[1] ** 0.5)
        elif name != "directions":
            weight.fill_(1.0)
