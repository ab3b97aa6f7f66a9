"""The terms of the learning loss. Each is a function of what one step of `learning.learn` saw."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from einops import rearrange, reduce
from torch import Tensor

if TYPE_CHECKING:
    from .learning import Step, TextEncoder

SHARPNESS = 100.0


def masked_noise_loss(step: Step) -> Tensor:
    """PersonaMagic's diffusion loss: sum(mask * (target - prediction)^2) / sum(mask), mean over the rows.

    prediction, target: [B, C, h, w]; mask: [B, 1, h, w] in 0..1, counted once a channel.
    """
    mask = step.mask.expand_as(step.prediction)
    error = mask * (step.target - step.prediction) ** 2
    return (error.sum((1, 2, 3)) / mask.sum((1, 2, 3))).mean()


class TandemEquilibrium:
    """Keeps persona and prompt level in the text encoder (PersonaMagic, Tandem Equilibrium).

    Each step encodes a rich prompt that no picture goes with, with the step's vectors, and looks at the last
    layer's self-attention. prompts: templates with one "{}". weight: the paper's lambda_TE, 0.001.
    """

    def __init__(self, text: TextEncoder, prompts: Sequence[str], weight: float):
        self.text, self.prompts, self.weight = text, prompts, weight

    def __call__(self, step: Step) -> Tensor:
        encoding = self.text.encode(step.draw(self.prompts), step.vectors, attention=True)
        share = persona_share(encoding.attention, encoding.persona, encoding.words)
        return -self.weight * (share * (1 - share)).mean()


def persona_share(attention: Tensor, persona: Tensor, words: Tensor) -> Tensor:
    """p_S of method Tandem Equilibrium: how the persona's strongest token fares against the strongest word.

    attention: [B, heads, L, L] probabilities, softmax over the last axis (keys). persona, words: [B, L] true
    at the persona's tokens and at the other words (not at BOS, EOS or padding). Returns [B] in 0..1; 0.5 is
    level, and so is a prompt without other words.
    """
    totals = reduce(attention, "b h q k -> b k", "sum")
    strongest_persona = totals.masked_fill(~persona, -torch.inf).argmax(1)
    strongest_word = totals.masked_fill(~words, -torch.inf).argmax(1)
    rows = torch.arange(len(attention), device=attention.device)
    pair = torch.stack([attention[rows, :, :, strongest_persona], attention[rows, :, :, strongest_word]])
    shares = torch.softmax(SHARPNESS * rearrange(pair, "two b h q -> b h q two"), dim=-1)[..., 0]
    share = reduce(shares, "b h q -> b", "mean")
    return torch.where(words.any(1), share, torch.full_like(share, 0.5))
