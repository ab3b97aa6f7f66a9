"""The host's frozen flow-matching transformers whose picture looks across at the text (Anima's MiniTrainDIT): their
output with gradient to separate contexts for K and V, and their attention.

Shapes: B rows, C x h x w latents, L tokens of the context, D its width.
"""

from collections.abc import Callable, Sequence
from itertools import cycle

import torch
from einops import rearrange
from torch import Tensor

from ...attention import token_maps
from ...task import CrossAttention
from .flow import FrozenFlow

PATCH = "attn2_patch"  # in the host's transformer options: gives layers that look at the text what K and V are made of


class FrozenCrossTransformer(FrozenFlow):
    """`task.Denoiser` over a MODEL of the host. A picture is a video of one frame to it."""

    def predict(self, noisy: Tensor, t: Tensor, keys: Tensor, values: Tensor, pooled: Tensor | None = None) -> Tensor:
        """See `task.Denoiser`; computed in the host's precision for this model, returned in fp32."""
        return self.forward(noisy, t, keys, self.with_values(self.options(t), keys, values))

    def predict_watched(
        self, noisy: Tensor, t: Tensor, keys: Tensor, values: Tensor, reference: Tensor, pooled: Tensor | None = None
    ) -> tuple[Tensor, list[CrossAttention]]:
        """See `task.Denoiser`. The reference's keys come from the same pass: it is appended to the context."""
        layers, length, shape, latent = [], keys.shape[1], self.shape(noisy), tuple(noisy.shape[-2:])

        def watch(query: Tensor, key: Tensor, heads: int) -> Tensor:
            if len(layers) < len(self.diffusion_model.blocks):  # the backward pass may compute a layer once more
                queries, keys = together(query), together(key)
                seen = CrossAttention(queries, keys[:, :length], keys[:, length:], heads, shape, latent)
                layers.append(seen)
            return key[:, :, :length]

        options, reference = self.with_values(self.options(t, watch), keys, values), self.cast(reference)
        # Last of the patches, so that others see the context that they know.
        options["patches"].setdefault(PATCH, []).append(lambda q, k, v, **_: {"k": torch.cat([k, reference], 1)})
        return self.forward(noisy, t, keys, options), layers

    @torch.no_grad()
    def attention_map(
        self, noisy: Tensor, t: Tensor, context: Tensor, tokens: Sequence[int], pooled: Tensor | None = None
    ) -> Tensor:
        """Where tokens of the prompt are looked at by the picture: [B, h, w] of noisy latents [B, C, h, w].

        Mean over the tokens, over heads and over the layers of the middle half, at the latent's size.
        """
        maps, count, shape, latent = [], len(self.diffusion_model.blocks), self.shape(noisy), tuple(noisy.shape[-2:])

        def watch(query: Tensor, key: Tensor, heads: int) -> Tensor:
            maps.append(token_maps(together(query), together(key), heads, shape, latent)[:, tokens].mean(1))
            return key

        self.forward(noisy, t, context, self.options(t, watch))
        return torch.stack(maps[count // 4 : -(-3 * count // 4)]).mean(0)

    def with_values(self, options: dict, keys: Tensor, values: Tensor) -> dict:
        """Options of a pass whose V has a context of its own, if it has."""
        if values is not keys:
            values = self.cast(values)
            options["patches"].setdefault(PATCH, []).append(lambda q, k, v, **_: {"v": values})
        return options

    def shape(self, noisy: Tensor) -> tuple[int, int]:
        """The places of a layer, (h, w)."""
        height, width = (-(-side // self.diffusion_model.patch_spatial) for side in noisy.shape[-2:])
        return height, width

    def forward(self, noisy: Tensor, t: Tensor, context: Tensor, options: dict) -> Tensor:
        """The transformer's output [B, C, h, w] in fp32, of contexts [B, L, D] as its layers take them."""
        frames = self.cast(noisy).unsqueeze(2)
        output = self.diffusion_model(frames, self.timesteps(t), self.cast(context), transformer_options=options)
        return output.float().squeeze(2)

    def cast(self, tensor: Tensor) -> Tensor:
        return tensor.to(self.device, self.dtype)

    def options(self, t: Tensor, watch: Callable[[Tensor, Tensor, int], Tensor] | None = None) -> dict:
        """See FrozenFlow. watch: sees queries and keys [B, heads, l, d] of each layer that looks at the text, and gives
        the keys that it is to look at."""
        options = super().options(t)
        turns: dict[str, Tensor] = {}
        # Each block has two: its first looks at the picture.
        across = cycle([False, True])

        def take_turns(query: Tensor, key: Tensor, value: Tensor, pe: Tensor | None = None, **_) -> dict:
            turns["now"] = pe
            return {"pe": None}

        def attend(hosts: Callable, query: Tensor, key: Tensor, value: Tensor, heads: int, *rest, **named) -> Tensor:
            if next(across):
                key = watch(query, key, heads) if watch else key
            elif turns.get("now") is not None:
                query, key = turned(query, turns["now"]), turned(key, turns["now"])
            return self.attention(query, key, value, heads, *rest, **named)

        # Newer hosts turn queries and keys by what has no backward pass: it is done here, where they are looked with.
        options["patches"].setdefault("attn1_patch", []).append(take_turns)
        return {**options, "optimized_attention_override": attend}


def turned(heads: Tensor, turns: Tensor) -> Tensor:
    """Queries or keys [B, heads, l, d] turned by their positions (RoPE): the first half of d with the second, by
    matrices [1, l, 1, d / 2, 2, 2]."""
    halves = torch.stack(heads.to(turns.dtype).chunk(2, -1), -1)
    mixed = torch.einsum("lpij,bhlpj->bhlip", turns[0, :, 0], halves)
    return mixed.flatten(-2).type_as(heads)


def together(heads: Tensor) -> Tensor:
    """[B, heads, l, d] -> [B, l, heads d]."""
    return rearrange(heads, "b heads l d -> b l (heads d)")
