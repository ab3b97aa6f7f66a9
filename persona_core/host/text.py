"""The host's text encoders, differentiable in the vectors at the placeholder.

The host's own forward adds in place, which autograd refuses, so its layers are called one by one here; the
modules stay untouched. Shapes: B rows, L tokens, D width of the context, W of one text encoder, N persona tokens.
"""

from collections.abc import Sequence

import comfy.model_management
import torch
from comfy.ldm.modules.attention import attention_pytorch
from einops import rearrange
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..learning import TextEncoding
from ..representation import TokenVectors, on_sphere
from .clip import TextTower, text_towers
from .tokens import PersonaToken, PersonaTokens, with_placeholder

PLACEHOLDER = "{}"


class DifferentiableText:
    """`learning.TextEncoder` over a CLIP of the host that is loaded (`frozen.differentiable`).

    supercategory: the word whose pooled output goes with prompts, where the model takes one: the placeholder leaves it
    untouched.
    """

    def __init__(self, clip, tokens: int, supercategory: str = "person"):
        self.clip, self.supercategory, self.towers = clip, supercategory, text_towers(clip)
        slots = {tower.name: PersonaTokens(torch.zeros(tower.width), self, tokens) for tower in self.towers.towers}
        self.tokenizer = with_placeholder(clip.tokenizer, PLACEHOLDER, slots)
        self.encoders = [DifferentiableTower(tower, clip.layer_idx) for tower in self.towers.towers]
        self.pooled_of: dict[str, Tensor | None] = {}

    def encode(self, prompts: Sequence[str], vectors: TokenVectors, attention: bool = False) -> TextEncoding:
        """See `learning.TextEncoder`. The attention is that of the last layer that makes the context for K."""
        tokenized = [self.tokenizer.tokenize_with_weights(prompt) for prompt in prompts]
        rows = [[sections(one, tower.key) for one in tokenized] for tower in self.towers.towers]
        encoded = [
            encoder.encode(its_rows, part, attention)
            for encoder, its_rows, part in zip(self.encoders, rows, vectors.split(self.towers.widths))
        ]
        keys, values, attentions = zip(*encoded)
        context = torch.cat(keys, -1)
        persona, words = self.encoders[0].places(rows[0])
        return TextEncoding(
            context,
            context if all(value is key for key, value in zip(keys, values)) else torch.cat(values, -1),
            persona,
            words,
            attentions if attention else (),
            self.pooled(prompts),
        )

    @torch.no_grad()
    def pooled(self, prompts: Sequence[str]) -> Tensor | None:
        """What the host pools of each prompt with the supercategory's word in it; None where no model asks for it."""
        if len(self.encoders) == 1:
            return None
        self.clip.cond_stage_model.reset_clip_options()  # as the host does before it encodes: others leave theirs there
        for prompt in prompts:
            if prompt not in self.pooled_of:
                tokens = self.clip.tokenizer.tokenize_with_weights(prompt.replace(PLACEHOLDER, self.supercategory))
                self.pooled_of[prompt] = self.clip.cond_stage_model.encode_token_weights(tokens)[1]
        return torch.cat([self.pooled_of[prompt] for prompt in prompts])


def sections(tokenized: dict, key: str) -> list:
    """The tokens of a prompt of one section."""
    (section,) = tokenized[key]
    return [token for token, _ in section]


class DifferentiableTower:
    """One text encoder. layer: of CLIP Set Last Layer, or None."""

    def __init__(self, tower: TextTower, layer: int | None):
        self.tower = tower
        self.layers = list(tower.transformer.encoder.layers)[: depth(layer, tower.model)]
        embedding = tower.model.transformer.get_input_embeddings().weight
        self.device = embedding.device
        # The host casts each layer's weights as it comes to them, and autograd would keep all the copies: 3.3 GB of
        # SDXL's for each text.
        self.recompute = embedding.dtype != torch.float32

    def encode(
        self, rows: Sequence[list], vectors: TokenVectors, attention: bool
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Contexts for K and V [B, L, W] (the same object where they do not differ), and the last layer's attention."""
        ids = torch.tensor(
            [[0 if isinstance(token, PersonaToken) else token for token in row] for row in rows], device=self.device
        )
        persona, _ = self.places(rows)
        hidden, probabilities = self.hidden(self.embed(ids, persona, vectors.keys), attention)
        keys = self.finish(hidden)
        if vectors.values is vectors.keys and vectors.bypass is None:
            return keys, keys, probabilities
        if vectors.values is not vectors.keys:
            hidden, _ = self.hidden(self.embed(ids, persona, vectors.values), False)
        return keys, self.finish(add_bypass(hidden, persona, vectors.bypass)), probabilities

    def places(self, rows: Sequence[list]) -> tuple[Tensor, Tensor]:
        """Where the persona's tokens and where the other words are: [B, L] each."""
        tokenizer = self.tower.tokenizer
        special = {tokenizer.start_token, tokenizer.end_token, tokenizer.pad_token}
        persona = [[isinstance(token, PersonaToken) for token in row] for row in rows]
        words = [[not isinstance(token, PersonaToken) and token not in special for token in row] for row in rows]
        return torch.tensor(persona, device=self.device), torch.tensor(words, device=self.device)

    def embed(self, ids: Tensor, persona: Tensor, vectors: Tensor) -> Tensor:
        """Input embeddings [B, L, W] with the persona's vectors [B, N, W] in their places."""
        words = self.tower.model.transformer.get_input_embeddings()(ids, out_dtype=torch.float32)
        return words.masked_scatter(persona[..., None], vectors.to(words))

    def hidden(self, embeddings: Tensor, attention: bool) -> tuple[Tensor, Tensor | None]:
        """The last hidden state [B, L, W] before the final norm, and the last layer's attention if asked for."""
        position = self.tower.transformer.embeddings.position_embedding.weight
        x = embeddings + comfy.model_management.cast_to_device(position, self.device, embeddings.dtype)
        length = x.shape[1]
        causal = torch.full((length, length), -torch.finfo(x.dtype).max, device=x.device, dtype=x.dtype).triu_(1)
        probabilities = None
        for layer in self.layers:
            if attention and layer is self.layers[-1]:
                probabilities = attention_probabilities(layer.self_attn, layer.layer_norm1(x), causal)
            if self.recompute:
                x = checkpoint(through, layer, x, causal, use_reentrant=False, preserve_rng_state=False)
            else:
                x = through(layer, x, causal)
        return x, probabilities

    def finish(self, hidden: Tensor) -> Tensor:
        """The context from the hidden state, as the host makes it for this family."""
        if self.tower.model.layer_norm_hidden_state:
            return self.tower.transformer.final_layer_norm(hidden)
        return hidden


def through(layer: nn.Module, x: Tensor, causal: Tensor) -> Tensor:
    """One layer of the host's text encoder, without its in-place additions."""
    x = x + layer.self_attn(layer.layer_norm1(x), causal, attention_pytorch)
    return x + layer.mlp(layer.layer_norm2(x))


def depth(layer: int | None, model: nn.Module) -> int | None:
    """How many layers make the context: all, or those that CLIP Set Last Layer or the family leaves."""
    layer = layer if layer is not None else model.options_default[1]
    if layer is None or abs(layer) > model.num_layers:
        return None
    return (layer + model.num_layers if layer < 0 else layer) + 1


def attention_probabilities(attention: nn.Module, x: Tensor, mask: Tensor) -> Tensor:
    """Self-attention probabilities [B, heads, L, L] of a layer of the text encoder for its input [B, L, W]."""
    query, key = (
        rearrange(project(x), "b l (h d) -> b h l d", h=attention.heads)
        for project in (attention.q_proj, attention.k_proj)
    )
    return (query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5 + mask).softmax(-1)


def add_bypass(hidden: Tensor, persona: Tensor, bypass: Tensor | None) -> Tensor:
    """h' = normalize(h + b) * ||h|| at the persona's tokens (NeTI's textual bypass).

    hidden: [B, L, W]. persona: [B, L], true N times a row. bypass: [B, N, W] or None.
    """
    if bypass is None:
        return hidden
    spread = torch.zeros_like(hidden).masked_scatter(persona[..., None], bypass.to(hidden))
    return torch.where(persona[..., None], on_sphere(hidden + spread, hidden), hidden)
