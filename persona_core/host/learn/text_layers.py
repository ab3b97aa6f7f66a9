"""The layers of the host's text encoders, one by one: what the host's own forward adds in place autograd refuses, and
it keeps no attention. The modules stay untouched.

Shapes: B rows, L tokens, W width of a text encoder.
"""

import math
from typing import Protocol

import comfy.model_management
import torch
from comfy.text_encoders.llama import apply_rope, precompute_freqs_cis
from einops import rearrange
from torch import Tensor, nn

from ..towers import ClipTower, QwenTower, TextTower
from .attention import attention_for


class TextLayers(Protocol):
    """Those that make a text encoder's context."""

    def begin(self, embeddings: Tensor) -> Tensor:
        """What the first layer gets, of input embeddings [B, L, W]."""
        ...

    def through(self, index: int, x: Tensor) -> Tensor:
        """What a layer makes of x [B, L, W]."""
        ...

    def attention(self, index: int, x: Tensor) -> Tensor:
        """Its self-attention probabilities [B, heads, L, L]."""
        ...

    def finish(self, hidden: Tensor) -> Tensor:
        """The context, of what the last of them makes, as the host does for this family."""
        ...


def layers_for(tower: TextTower, layer: int | None, device: torch.device, dtype: torch.dtype) -> TextLayers:
    """Those that make the context. layer: of CLIP Set Last Layer, or None. device: where they compute; their weights
    may be lent there. dtype: what they multiply in; the sum that runs through them stays in fp32."""
    return (QwenLayers if isinstance(tower, QwenTower) else ClipLayers)(tower, layer, device, dtype)


def causal(length: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """A mask [L, L] that is added to attention: no token sees those after it."""
    return torch.full((length, length), -torch.finfo(dtype).max, device=device, dtype=dtype).triu_(1)


class ClipLayers:
    def __init__(self, tower: ClipTower, layer: int | None, device: torch.device, dtype: torch.dtype):
        self.tower, self.device, self.dtype = tower, device, dtype
        self.layers = list(tower.transformer.encoder.layers)[: tower.depth(layer)]
        self.compute = attention_for(device, dtype, tower.tokenizer.max_length)

    def begin(self, embeddings: Tensor) -> Tensor:
        position = self.tower.transformer.embeddings.position_embedding.weight
        return embeddings + comfy.model_management.cast_to_device(position, self.device, embeddings.dtype)

    def through(self, index: int, x: Tensor) -> Tensor:
        layer, mask = self.layers[index], causal(x.shape[1], x.device, self.dtype)
        x = x + layer.self_attn(layer.layer_norm1(x).to(self.dtype), mask, self.compute)
        return x + layer.mlp(layer.layer_norm2(x).to(self.dtype))

    def attention(self, index: int, x: Tensor) -> Tensor:
        layer = self.layers[index]
        attention, x = layer.self_attn, layer.layer_norm1(x).to(self.dtype)
        query, key = (
            rearrange(project(x).float(), "b l (h d) -> b h l d", h=attention.heads)
            for project in (attention.q_proj, attention.k_proj)
        )
        return probabilities(query, key, causal(x.shape[1], x.device, self.dtype))

    def finish(self, hidden: Tensor) -> Tensor:
        if self.tower.model.layer_norm_hidden_state:
            return self.tower.transformer.final_layer_norm(hidden)
        return hidden


class QwenLayers:
    """Positions turn queries and keys, and several heads of queries share one of keys."""

    def __init__(self, tower: QwenTower, layer: int | None, device: torch.device, dtype: torch.dtype):
        self.tower, self.device, self.dtype = tower, device, dtype
        self.layers, self.config = list(tower.transformer.layers)[: tower.depth(layer)], tower.transformer.config
        self.ends_normed = tower.ends_normed(layer)
        self.compute = attention_for(device, dtype, math.inf)

    def begin(self, embeddings: Tensor) -> Tensor:
        return embeddings

    def through(self, index: int, x: Tensor) -> Tensor:
        layer, mask, turns = self.layers[index], causal(x.shape[1], x.device, self.dtype), self.turns(x)
        normed = layer.input_layernorm(x).to(self.dtype)
        mixed = layer.self_attn(normed, attention_mask=mask, freqs_cis=turns, optimized_attention=self.compute)
        x = x + (mixed[0] if isinstance(mixed, tuple) else mixed)  # newer hosts give keys and values, too
        x = x + layer.mlp(layer.post_attention_layernorm(x).to(self.dtype))
        return self.tower.transformer.norm(x) if self.ends_normed and index + 1 == len(self.layers) else x

    def attention(self, index: int, x: Tensor) -> Tensor:
        layer = self.layers[index]
        attention, x = layer.self_attn, layer.input_layernorm(x).to(self.dtype)
        query, key = (
            rearrange(project(x), "b l (h d) -> b h l d", d=attention.head_dim)
            for project in (attention.q_proj, attention.k_proj)
        )
        query, key = apply_rope(normed(attention.q_norm, query), normed(attention.k_norm, key), self.turns(x))
        key = key.repeat_interleave(attention.num_heads // attention.num_kv_heads, dim=1)
        return probabilities(query.float(), key.float(), causal(x.shape[1], x.device, self.dtype))

    def turns(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Of the positions 0, 1, ... in x [B, L, W]."""
        config, positions = self.config, torch.arange(x.shape[1], device=x.device)[None]
        return precompute_freqs_cis(
            config.head_dim, positions, config.rope_theta, config.rope_scale, config.rope_dims, device=x.device
        )

    def finish(self, hidden: Tensor) -> Tensor:
        return self.tower.transformer.norm(hidden) if self.tower.model.layer_norm_hidden_state else hidden


def normed(norm: nn.Module | None, x: Tensor) -> Tensor:
    return x if norm is None else norm(x)


def probabilities(query: Tensor, key: Tensor, mask: Tensor) -> Tensor:
    """[B, heads, L, L] of queries and keys [B, heads, L, d], in fp32."""
    return (query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5 + mask.float()).softmax(-1)
