"""The host's frozen flow-matching transformers, in which text and picture attend jointly (Z-Image's NextDiT): their
output with gradient to the context, and where the picture looks in it.

Shapes: B rows, C x h x w latents, L tokens of the context, D its width.
"""

import math
from collections.abc import Callable, Iterator, Sequence

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from ...task import CrossAttention
from .denoiser import PIXELS
from .flow import FrozenFlow


class FrozenTransformer(FrozenFlow):
    """`task.Denoiser` over a MODEL of the host.

    Its text runs through the layers with the picture, so K and V have one context: that of V. A context's rows of zeros
    behind its last token are none: those of different lengths are computed one length after the other, as the host
    does.
    """

    def predict(self, noisy: Tensor, t: Tensor, keys: Tensor, values: Tensor, pooled: Tensor | None = None) -> Tensor:
        """See `task.Denoiser`; computed in the host's precision for this model, returned in fp32."""
        output = torch.zeros(noisy.shape, device=self.device)
        for rows, length in by_length(values):
            found = self.forward(noisy[rows], t[rows], values[rows, :length], self.options(t[rows]))
            output = output.index_put((rows,), found)
        return output

    def predict_watched(
        self, noisy: Tensor, t: Tensor, keys: Tensor, values: Tensor, reference: Tensor, pooled: Tensor | None = None
    ) -> tuple[Tensor, list[CrossAttention]]:
        """Of no such model: `model.check_across` says so before."""
        raise NotImplementedError

    @torch.no_grad()
    def attention_map(
        self, noisy: Tensor, t: Tensor, context: Tensor, tokens: Sequence[int], pooled: Tensor | None = None
    ) -> Tensor:
        """Where tokens of the prompt are looked at by the picture: [B, h, w] of noisy latents [B, C, h, w].

        Of the probabilities over all that is there, text and picture; mean over the tokens, over heads and over the
        layers of the middle half, at the latent's size.
        """
        (_, length), layers, maps = next(by_length(context)), len(self.diffusion_model.layers), []
        size = tuple(-(-side // self.diffusion_model.patch_size) for side in noisy.shape[-2:])
        picture = slice(self.filled(length), self.filled(length) + math.prod(size))

        def record(hosts: Callable, query: Tensor, key: Tensor, value: Tensor, heads: int, *rest, **named) -> Tensor:
            if query.shape[-2] >= picture.stop:  # text and picture together: the layers before have either
                logits = query[:, :, picture].float() @ key.float().mT * query.shape[-1] ** -0.5
                maps.append(logits.softmax(-1)[..., tokens].mean(-1).mean(1))
            return self.attention(query, key, value, heads, *rest, **named)

        self.forward(noisy, t, context[:, :length], {**self.options(t), "optimized_attention_override": record})
        middle = torch.stack(maps[layers // 4 : -(-3 * layers // 4)]).mean(0)
        shown = rearrange(middle, "b (h w) -> b 1 h w", h=size[0])
        return F.interpolate(shown, noisy.shape[-2:], mode="bilinear")[:, 0]

    def filled(self, length: int) -> int:
        """To how many tokens the host fills up a text of this length; the picture's are behind them."""
        multiple = self.diffusion_model.pad_tokens_multiple
        return length if multiple is None else -(-length // multiple) * multiple

    def forward(self, noisy: Tensor, t: Tensor, context: Tensor, options: dict) -> Tensor:
        """The transformer's output [B, C, h, w] in fp32, of contexts [B, L, D] without padding."""
        height, width = (PIXELS * side for side in noisy.shape[-2:])
        noisy, context = (tensor.to(self.device, self.dtype) for tensor in (noisy, context))
        # The context is cloned by what the host makes of it for a batch, which has no gradient.
        with torch.no_grad():
            conditions = self.patcher.model.extra_conds(
                noise=noisy, latent_image=noisy, device=self.device, width=width, height=height,
                cross_attn=context.detach(),
            )  # fmt: skip
        beside = {name: moved(one.cond, self.device, self.dtype) for name, one in conditions.items()}
        del beside["c_crossattn"]
        return self.diffusion_model(
            noisy, self.timesteps(t), context=context, transformer_options=options, **beside
        ).float()


def moved(value: object, device: torch.device, dtype: torch.dtype) -> object:
    return value.to(device, dtype) if isinstance(value, Tensor) else value


def by_length(contexts: Tensor) -> Iterator[tuple[Tensor, int]]:
    """The rows of contexts [B, L, D] that are as long as each other, and how long: zeros behind the last token are no
    token."""
    there = (contexts.detach() != 0).any(-1)
    lengths = contexts.shape[1] - there.flip(1).int().argmax(1)
    for length in lengths.unique().tolist():
        yield (lengths == length).nonzero()[:, 0], length
