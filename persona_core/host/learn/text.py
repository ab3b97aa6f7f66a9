"""The host's text encoders, differentiable in the vectors at the placeholder.

Shapes: B rows, L tokens, D width of the context, W of one text encoder, N persona tokens.
"""

from collections.abc import Callable, Sequence
from functools import cache

import torch
from comfy.sd import CLIP
from torch import Tensor

from ...representation import TokenVectors, add_bypass, initializers
from ...task import RichPrompts, TextEncoding
from ..clip import StandIn, text_towers
from ..compat import with_own_weights
from ..tokenizer import MARK, PersonaToken, PersonaTokens, with_placeholder
from ..towers import TextTower
from .memory import checkpointed
from .text_layers import layers_for

SLOT, PLAIN = "{}", "a photo of a {}"
WORDS = 75  # of a section, beside start and end
NONE = -1  # in the place of a token, behind a shorter prompt


def clip_for_learning(clip: CLIP) -> CLIP:
    """A clone of a CLIP that can be loaded whole; see `compat.with_own_weights`."""
    clone = clip.clone()
    clone.patcher = with_own_weights(clip.patcher, "CLIP")
    if clone.patcher.model is not clip.patcher.model:  # Apply's stand-ins still call the other's encoders
        patches = clone.patcher.object_patches
        clone.patcher.object_patches = {n: one for n, one in patches.items() if not isinstance(one, StandIn)}
    clone.cond_stage_model = clone.patcher.model
    return clone


class DifferentiableText:
    """`task.TextEncoder` over a CLIP of the host that is loaded (`autograd.differentiable`).

    supercategory: the word whose pooled output goes with prompts, where the model takes one: the placeholder leaves it
    untouched. dtype: what the layers multiply in; the sum that runs through them stays in fp32. twice: whether
    layers are computed twice, so that autograd keeps no copies of their weights.
    """

    def __init__(
        self,
        clip: CLIP,
        tokens: int,
        supercategory: str = "person",
        dtype: torch.dtype = torch.float32,
        twice: bool = False,
    ):
        self.clip, self.supercategory, self.towers = clip, supercategory, text_towers(clip)
        slots = {tower.name: PersonaTokens(torch.zeros(tower.width), self, tokens) for tower in self.towers.towers}
        self.fixed_length = all(tower.fixed_length for tower in self.towers.towers)
        self.tokenizer = with_placeholder(clip.tokenizer, SLOT, slots)
        device = clip.patcher.load_device
        self.encoders = [
            DifferentiableTower(tower, clip.layer_idx, device, dtype, twice) for tower in self.towers.towers
        ]
        self.tokens_of = cache(self.tokenizer.tokenize_with_weights)
        self.pooled_of: dict[str, Tensor | None] = {}

    def check(self, prompts: Sequence[str]) -> None:
        """Raise ValueError with a sentence for a prompt that is too long, or more than plain words."""
        for prompt in prompts:
            tokenized = self.tokens_of(prompt)
            for tower in self.towers.towers:
                if len(tokenized[tower.key]) != 1:
                    raise ValueError(
                        f"The prompt '{prompt}' is longer than the text encoder reads at once: {WORDS} words or parts "
                        "of words. Make the caption shorter."
                    )
                strange = [token for token in sections(tokenized, tower.key) if not isinstance(token, int)]
                ours = [token for token in strange if isinstance(token, PersonaToken) and token.subject is self]
                weighted = any(weight != 1 for _, weight in tokenized[tower.key][0])
                if len(ours) != len(strange) or prompt.count(SLOT) != 1 or weighted or MARK in prompt:
                    raise not_plain(prompt)

    @torch.no_grad()
    def output_of(self, word: Tensor) -> Tensor:
        """What the layers make of a word's input embeddings in a plain prompt, before the final norm: [D] or [S, D], as
        the word."""
        outputs = []
        for encoder, part in zip(self.encoders, word.split(self.towers.widths, -1)):
            rows = [sections(self.tokens_of(PLAIN), encoder.tower.key)]
            where, _ = encoder.places(rows)
            tokens = int(where.sum())
            embeddings = encoder.embed(encoder.ids(rows), where, initializers(part, tokens).expand(1, tokens, -1))
            found = encoder.hidden(embeddings, 1)[0][where]
            # Of those that are the word's last token, the last one.
            outputs.append(found[-1] if part.ndim == 1 else torch.cat([found[: len(part) - 1], found[-1:]]))
        return torch.cat(outputs, -1).to(word)

    def encode(self, prompts: Sequence[str], vectors: TokenVectors, rich: Sequence[str] = ()) -> TextEncoding:
        """See `task.TextEncoder`."""
        tokenized = [self.tokens_of(prompt) for prompt in (*prompts, *rich)]
        rows = [[sections(one, tower.key) for one in tokenized] for tower in self.towers.towers]
        keys, values, attentions = zip(
            *(
                encoder.encode(its_rows, part, len(prompts))
                for encoder, its_rows, part in zip(self.encoders, rows, vectors.split(self.towers.widths))
            )
        )
        context = torch.cat(keys, -1)
        persona, words = self.encoders[0].places(rows[0])
        count = len(prompts)
        return TextEncoding(
            context,
            context if all(value is key for key, value in zip(keys, values)) else torch.cat(values, -1),
            persona[:count],
            words[:count],
            RichPrompts(persona[count:], words[count:], [one for encoder in attentions for one in encoder]),
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
                tokens = self.clip.tokenizer.tokenize_with_weights(prompt.replace(SLOT, self.supercategory))
                self.pooled_of[prompt] = self.clip.cond_stage_model.encode_token_weights(tokens)[1]
        return torch.cat([self.pooled_of[prompt] for prompt in prompts])


def not_plain(prompt: str) -> ValueError:
    return ValueError(
        f"The prompt '{prompt}' holds more than plain words. Leave placeholders, weights (round brackets), embeddings "
        f"and '{SLOT}' out of the caption."
    )


def sections(tokenized: dict, key: str) -> list:
    """The tokens of a prompt of one section."""
    (section,) = tokenized[key]
    return [token for token, _ in section]


def plain(forward: Callable) -> Callable:
    return forward


class DifferentiableTower:
    """One text encoder. layer: of CLIP Set Last Layer, or None. device: where it computes; its weights may be lent
    there. dtype, twice: as of DifferentiableText."""

    def __init__(
        self,
        tower: TextTower,
        layer: int | None,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
        twice: bool = False,
    ):
        self.tower, self.device, self.depth = tower, device, tower.depth(layer)
        self.layers, self.wrap = layers_for(tower, layer, device, dtype), checkpointed if twice else plain

    def encode(
        self, rows: Sequence[list], vectors: TokenVectors, count: int
    ) -> tuple[Tensor, Tensor, Sequence[Tensor]]:
        """Contexts for K and V [B, L, W] (the same object where they do not differ) of the first `count` rows; of the
        others the last layer's attention, with K's tokens and, where they differ, with V's."""
        ids = self.ids(rows)
        persona, _ = self.places(rows)
        sides = vectors.sides
        embeddings = [self.embed(ids, persona, side) for side in sides]
        plain = torch.cat([side[:count] for side in embeddings])
        rich = torch.cat([side[count:] for side in embeddings])
        hidden, attention = self.hidden(torch.cat([plain, rich]), len(plain))
        attentions = [] if attention is None else attention.chunk(len(sides))
        hidden = hidden.chunk(len(sides))
        keys = self.finish(hidden[0], ids)
        if len(sides) == 1 and vectors.bypass is None:
            return keys, keys, attentions
        if vectors.bypass is None:
            return keys, self.finish(hidden[-1], ids), attentions
        where = persona[:count]
        bypass = torch.zeros_like(hidden[-1]).masked_scatter(where[..., None], vectors.bypass.to(hidden[-1]))
        return keys, self.finish(add_bypass(hidden[-1], bypass, where), ids), attentions

    def ids(self, rows: Sequence[list]) -> Tensor:
        """Of the words' tokens [B, L]; 0 at the persona's, NONE behind a row that is shorter than others."""
        longest = max(map(len, rows))
        ids = [[0 if isinstance(token, PersonaToken) else token for token in row] for row in rows]
        return torch.tensor([row + [NONE] * (longest - len(row)) for row in ids], device=self.device)

    def places(self, rows: Sequence[list]) -> tuple[Tensor, Tensor]:
        """Where the persona's tokens and where the other words are: [B, L] each."""
        longest = max(map(len, rows))
        persona = [[isinstance(token, PersonaToken) for token in row] for row in rows]
        each = persona, [self.tower.words_in(row) for row in rows]
        persona, words = ([row + [False] * (longest - len(row)) for row in one] for one in each)
        return torch.tensor(persona, device=self.device), torch.tensor(words, device=self.device)

    def embed(self, ids: Tensor, persona: Tensor, vectors: Tensor) -> Tensor:
        """Input embeddings [B, L, W] with the persona's vectors [B, N, W] in their places."""
        table = self.tower.embeddings
        words = table(ids.clamp(min=0).to(table.weight.device), out_dtype=torch.float32).to(self.device)
        return words.masked_scatter(persona[..., None], vectors.to(words))

    def hidden(self, embeddings: Tensor, count: int) -> tuple[Tensor, Tensor | None]:
        """The last hidden state [count, L, W] of the first `count` rows before the final norm, and the last layer's
        attention in the others, if there are any."""
        x, last = self.layers.begin(embeddings), self.depth - 1
        through, attention_of = self.wrap(self.layers.through), self.wrap(self.layers.attention)
        for index in range(last):
            x = through(index, x)
        attention = attention_of(last, x[count:]) if len(x) > count else None
        return through(last, x[:count]), attention

    def finish(self, hidden: Tensor, ids: Tensor) -> Tensor:
        """The context from the hidden state: zeros behind a row that is shorter than others."""
        context = self.layers.finish(hidden)
        inside = ids[: len(context)] != NONE
        return context if inside.all() else context * inside[..., None]
