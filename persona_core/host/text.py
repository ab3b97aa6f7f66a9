"""The host's text encoder, differentiable in the vectors at the placeholder.

The host's own forward adds in place, which autograd refuses, so its layers are called one by one here; the
modules stay untouched. Shapes: B rows, L tokens, D width, N persona tokens.
"""

from collections.abc import Sequence

import comfy.model_management
import torch
from comfy.ldm.modules.attention import attention_pytorch
from einops import rearrange
from torch import Tensor, nn

from ..learning import TextEncoding
from ..representation import TokenVectors, on_sphere
from .clip import text_tower
from .tokens import PersonaToken, PersonaTokens, with_placeholders

PLACEHOLDER = "{}"


class DifferentiableText:
    """`learning.TextEncoder` over a CLIP of the host that is loaded (`frozen.differentiable`)."""

    def __init__(self, clip, tokens: int):
        self.tower = text_tower(clip)
        self.layers = list(self.tower.transformer.encoder.layers)[: depth(clip, self.tower.model)]
        slots = PersonaTokens(torch.zeros(self.tower.width), self, tokens)
        self.tokenizer = with_placeholders(clip.tokenizer, self.tower.name, {PLACEHOLDER: slots})
        self.device = self.tower.model.transformer.get_input_embeddings().weight.device

    def encode(self, prompts: Sequence[str], vectors: TokenVectors, attention: bool = False) -> TextEncoding:
        """See `learning.TextEncoder`. The last layer's attention is that of the context for K."""
        ids, persona, words = self.tokenize(prompts)
        hidden, probabilities = self.hidden(self.embed(ids, persona, vectors.keys), attention)
        keys = self.finish(hidden)
        if vectors.values is not vectors.keys:
            hidden, _ = self.hidden(self.embed(ids, persona, vectors.values), False)
        values = self.finish(add_bypass(hidden, persona, vectors.bypass))
        return TextEncoding(keys, values, persona, words, probabilities)

    def tokenize(self, prompts: Sequence[str]) -> tuple[Tensor, Tensor, Tensor]:
        """Prompts to token ids [B, L] and where the persona's tokens and the other words are [B, L]."""
        ids, persona, words = [], [], []
        special = {self.tower.tokenizer.start_token, self.tower.tokenizer.end_token, self.tower.tokenizer.pad_token}
        for prompt in prompts:
            (section,) = self.tokenizer.tokenize_with_weights(prompt)[self.tower.key]
            tokens = [token for token, _ in section]
            persona.append([isinstance(token, PersonaToken) for token in tokens])
            words.append([not isinstance(token, PersonaToken) and token not in special for token in tokens])
            ids.append([0 if isinstance(token, PersonaToken) else token for token in tokens])
        return tuple(torch.tensor(rows, device=self.device) for rows in (ids, persona, words))

    def embed(self, ids: Tensor, persona: Tensor, vectors: Tensor) -> Tensor:
        """Input embeddings [B, L, D] with the persona's vectors [B, N, D] in their places."""
        words = self.tower.model.transformer.get_input_embeddings()(ids, out_dtype=torch.float32)
        return words.masked_scatter(persona[..., None], vectors.to(words))

    def hidden(self, embeddings: Tensor, attention: bool) -> tuple[Tensor, Tensor | None]:
        """The last hidden state [B, L, D] before the final norm, and the last layer's attention if asked for."""
        position = self.tower.transformer.embeddings.position_embedding.weight
        x = embeddings + comfy.model_management.cast_to_device(position, self.device, embeddings.dtype)
        length = x.shape[1]
        causal = torch.full((length, length), -torch.finfo(x.dtype).max, device=x.device, dtype=x.dtype).triu_(1)
        probabilities = None
        for layer in self.layers:
            normed = layer.layer_norm1(x)
            if attention and layer is self.layers[-1]:
                probabilities = attention_probabilities(layer.self_attn, normed, causal)
            x = x + layer.self_attn(normed, causal, attention_pytorch)
            x = x + layer.mlp(layer.layer_norm2(x))
        return x, probabilities

    def finish(self, hidden: Tensor) -> Tensor:
        """The context from the hidden state, as the host makes it for this family."""
        if self.tower.model.layer_norm_hidden_state:
            return self.tower.transformer.final_layer_norm(hidden)
        return hidden


def depth(clip, model: nn.Module) -> int | None:
    """How many layers make the context: all, or those that CLIP Set Last Layer or the family leaves."""
    layer = clip.layer_idx if clip.layer_idx is not None else model.options_default[1]
    if layer is None or abs(layer) > model.num_layers:
        return None
    return (layer + model.num_layers if layer < 0 else layer) + 1


def attention_probabilities(attention: nn.Module, x: Tensor, mask: Tensor) -> Tensor:
    """Self-attention probabilities [B, heads, L, L] of a layer of the text encoder for its input [B, L, D]."""
    query, key = (
        rearrange(project(x), "b l (h d) -> b h l d", h=attention.heads)
        for project in (attention.q_proj, attention.k_proj)
    )
    return (query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5 + mask).softmax(-1)


def add_bypass(hidden: Tensor, persona: Tensor, bypass: Tensor | None) -> Tensor:
    """h' = normalize(h + b) * ||h|| at the persona's tokens (NeTI's textual bypass).

    hidden: [B, L, D]. persona: [B, L], true N times a row. bypass: [B, N, D] or None.
    """
    if bypass is None:
        return hidden
    spread = torch.zeros_like(hidden).masked_scatter(persona[..., None], bypass.to(hidden))
    return torch.where(persona[..., None], on_sphere(hidden + spread, hidden), hidden)
