"""The text encoder with gradients, which the host's own forbids, and the host's tokens of captions.

Shapes: B captions, L <= 77 tokens, WIDTH numbers each; U words that captions use.
"""

from __future__ import annotations

import functools
import random

import comfy.sd
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..splits import named
from ..text import LENGTH, PREFIX, TOKENS, WIDTH, WORD, WORDS, all_words, load_text
from ..words.captions import caption, prompt_words
from .attention import attention, causal
from .dataset import plan


class Tokenizer:
    """The host's tokens of captions. Cut into words first: the host's own tokenizer would cost more than a step."""

    def __init__(self, clip: comfy.sd.CLIP):
        self.host = clip.tokenizer.clip_l
        self.start, self.end, self.pad = self.host.start_token, self.host.end_token, self.host.pad_token
        self.word = functools.cache(lambda word: self.host.tokenizer(word)["input_ids"][1:-1])

    def ids(self, text: str) -> list[int]:
        """Without those of beginning and end."""
        return [i for word in text.replace(",", " , ").split() for i in self.word(word)]

    def rows(self, found: list[list[int]], length: int = LENGTH) -> Tensor:
        """[B, length], padded as the host does."""
        rows = [[self.start, *ids[: length - 2], self.end] for ids in found]
        return torch.tensor([row + [self.pad] * (length - len(row)) for row in rows])

    def used(self, count: int = 20000) -> Tensor:
        """The tokens [U], ascending, that captions hold: of `count` scenes, of all names and of common prompts."""
        chance = random.Random(0)
        texts = [caption(scene, chance, who) for scene, who in map(plan, range(count))]
        words = {word for text in [*texts, *prompt_words(), *(n for kind in named() for n in kind)]
                 for word in text.replace(",", " , ").split()}  # fmt: skip
        return torch.tensor(sorted({self.start, self.end, self.pad}.union(*map(self.word, words))))


class TextEncoder(nn.Module):
    """The layers of a host's CLIP, and the words that are learned."""

    def __init__(self, clip: comfy.sd.CLIP, used: Tensor):
        super().__init__()
        text = clip.cond_stage_model.clip_l.transformer.text_model
        self.encoder, self.final_layer_norm = text.encoder, text.final_layer_norm
        self.position_embedding = text.embeddings.position_embedding
        self.register_buffer("used", used)
        # Flat, so that the optimizer sees no matrix; only the direction of each [WIDTH] counts.
        self.directions = nn.Parameter((0.05 / WORD * WIDTH**0.5 * all_words()[used]).flatten())
        self.row = torch.full((TOKENS,), -1)
        self.row[used] = torch.arange(len(used))
        self.register_buffer("table", None, persistent=False)  # [TOKENS, WIDTH], where no word is learned any more
        start(self)

    @classmethod
    def loaded(cls, clip: comfy.sd.CLIP, tensors: dict[str, Tensor]) -> TextEncoder:
        """Of `tensors`, into the CLIP, too; it learns no more."""
        encoder = cls(clip, tensors["words"])
        load_text(clip, tensors)
        with torch.no_grad():
            encoder.directions.copy_(tensors[WORDS].flatten())
            encoder.table = encoder.embed(torch.arange(TOKENS))
        return encoder.requires_grad_(False)

    def words(self) -> Tensor:
        """[U, WIDTH], each of length WORD."""
        return WORD * F.normalize(self.directions.view(-1, WIDTH), dim=-1)

    def embed(self, tokens: Tensor) -> Tensor:
        """Tokens [B, L] to vectors [B, L, WIDTH]."""
        if self.table is not None:
            return self.table[tokens]
        rows = self.row[tokens]
        return torch.where((rows < 0)[..., None], all_words()[tokens], self.words()[rows.clamp(min=0)])

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens [B, L] to contexts [B, L, WIDTH]: what the host's encoder gives, which forbids gradients."""
        x = self.embed(tokens) + self.position_embedding.weight[: tokens.shape[1]]
        mask = causal(x)
        for layer in self.encoder.layers:
            x = x + layer.self_attn(layer.layer_norm1(x), mask, attention)
            x = x + layer.mlp(layer.layer_norm2(x))
        return self.final_layer_norm(x)

    def tensors(self) -> dict[str, Tensor]:
        """As load_text takes them, under the host's names."""
        state = self.state_dict()
        used, _ = state.pop("used"), state.pop("directions")
        state["embeddings.position_embedding.weight"] = state.pop("position_embedding.weight")
        return {PREFIX + name: value for name, value in state.items()} | {WORDS: self.words().detach(), "words": used}


@torch.no_grad()
def start(encoder: TextEncoder) -> None:
    """Seeded first weights; every block begins faintly."""
    generator = torch.Generator().manual_seed(0)
    for name, weight in encoder.named_parameters():
        if name.startswith("position"):
            weight.copy_(0.01 * torch.randn(weight.shape, generator=generator))
        elif weight.ndim == 2:
            scale = 0.2 if name.endswith(("out_proj.weight", "fc2.weight")) else 1.0
            weight.copy_(scale * torch.randn(weight.shape, generator=generator) / weight.shape[1] ** 0.5)
        elif name != "directions":
            weight.fill_(1.0 if name.endswith("weight") else 0.0)
