"""The terms of the learning loss. Each is a function of what one step of `training.train` saw."""

import math

import torch
import torch.nn.functional as F
from einops import rearrange, reduce
from torch import Tensor

from .attention import attention_maps
from .task import CrossAttention, Step

SHARPNESS = 100.0
REDUCTIONS = SUM, MEAN = "sum", "mean"
COMPARED = ALL, PROMPT, PLACEHOLDER = "all tokens", "the prompt's tokens", "the placeholder only"


def masked_diffusion_loss(step: Step) -> Tensor:
    """PersonaMagic's diffusion loss: sum(mask * (target - prediction)^2) / sum(mask), mean over the rows.

    prediction, target: [B, C, h, w]; mask: [B, 1, h, w] in 0..1, counted once a channel.
    """
    mask = step.mask.expand_as(step.prediction)
    error = mask * (step.target - step.prediction) ** 2
    return (error.sum((1, 2, 3)) / mask.sum((1, 2, 3))).mean()


class TandemEquilibrium:
    """Keeps persona and prompt level in the text encoder (PersonaMagic, Tandem Equilibrium).

    A function of the step's rich prompts and the last layer's self-attention in them. weight: the paper's lambda_TE,
    0.001. Where K and V have tokens of their own, or there are several text encoders, all are kept level, and the term
    is the mean of theirs.
    """

    def __init__(self, weight: float):
        self.weight = weight

    def __call__(self, step: Step) -> Tensor:
        rich = step.encoding.rich
        share = torch.stack([persona_share(attention, rich.persona, rich.words) for attention in rich.attentions])
        return -self.weight * (share * (1 - share)).mean()


def persona_share(attention: Tensor, persona: Tensor, words: Tensor) -> Tensor:
    """p_S of the paper's Tandem Equilibrium: how the persona's strongest token fares against the strongest word.

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


class ContextRegularization:
    """Keeps the other words of a prompt what they are beside the common word (CoRe, arXiv 2408.15914).

    A function of the step's rich prompts, by the text encoder alone: no picture goes with them. The squared distance of
    each other word's output from the one beside the common word, as a share of that one's own square, mean over words.
    """

    def __init__(self, weight: float):
        self.weight = weight

    def __call__(self, step: Step) -> Tensor:
        assert step.context is not None  # asked for by Objective.context
        plain, words = step.context.plain, step.context.words
        distances = [(side - plain).square().sum(-1) / plain.square().sum(-1) for side in step.context.sides]
        return self.weight * torch.stack([distance[words].mean() for distance in distances]).mean()


class FaceWiseAttention:
    """Keeps each word looking at where it looks for a common word (Beyond Inserting, Equation 1, Algorithm 1).

    In every cross-attention layer, the maps of the persona's prompt are drawn to those of the reference prompt, both
    from the queries of the learning pass. weight: the paper's lambda, 0.003. tokens: whose maps are compared: ALL (the
    paper's variant 3), PROMPT (2: from the first token to the end token) or PLACEHOLDER (1). reduction: over heads,
    tokens and places of a layer: Equation 1 is a SUM, Algorithm 1 a MEAN; at 512 pixels the one is some 600,000 times
    the other in the largest layer. Over layers and rows it is the mean.
    """

    def __init__(self, weight: float, tokens: str = ALL, reduction: str = MEAN):
        self.weight, self.tokens, self.reduction = weight, tokens, reduction

    def __call__(self, step: Step) -> Tensor:
        filled = (step.encoding.keys.detach() != 0).any(-1)  # some contexts go on with what is no token
        chosen = compared_tokens(step.encoding.persona, step.encoding.words, self.tokens) & filled
        layers = [attention_difference(attention, chosen, self.reduction, filled) for attention in step.attentions]
        return self.weight * torch.stack(layers).mean()


def compared_tokens(persona: Tensor, words: Tensor, tokens: str) -> Tensor:
    """[B, L], true at the tokens whose maps are compared. persona, words: [B, L] as in TextEncoding."""
    if tokens == PLACEHOLDER:
        return persona
    if tokens == ALL:
        return torch.ones_like(persona)
    place = torch.arange(persona.shape[1], device=persona.device)
    last = torch.where(persona | words, place, 0).amax(1, keepdim=True)
    return place <= last + 1  # the end token too


def attention_difference(
    attention: CrossAttention, chosen: Tensor, reduction: str = MEAN, filled: Tensor | None = None
) -> Tensor:
    """Squared difference of a layer's maps for the chosen tokens [B, L], at half the latent's size; the mean over rows
    of what REDUCTIONS makes of heads, tokens and places. filled: [B, L], true where a context has a token."""
    some, bias = with_one_empty(torch.ones_like(chosen) if filled is None else filled)
    ours, theirs = (
        attention_maps(attention.queries, keys[:, some], attention.heads, attention.shape, bias)
        for keys in (attention.keys, attention.reference.detach())
    )
    chosen = chosen[:, some]
    # Of the difference, not of both: bringing maps to a size is linear, and costs as much as making them.
    height, width = attention.latent
    difference = brought_to((-(-height // 2), -(-width // 2)), ours - theirs)
    squares = reduce(difference.square(), "b heads l h w -> b l", reduction)
    if reduction == SUM:
        return (squares * chosen).sum(1).mean()
    return ((squares * chosen).sum(1) / chosen.sum(1)).mean()  # each row counts alike, however long its prompt is


def with_one_empty(filled: Tensor) -> tuple[Tensor | slice, Tensor | None]:
    """The places [L'] of tokens, and one of those that are empty in every row of `filled` [B, L]; what makes its logits
    count for all of them [1, 1, L'], as they are alike: Anima's layers look at 512, and memory goes with them."""
    there = filled.any(0)
    empty = (~there).nonzero()[:, 0]
    if not len(empty):
        return slice(None), None
    some = torch.cat([there.nonzero()[:, 0], empty[:1]])
    bias = torch.zeros(len(some), device=filled.device)
    bias[-1] = math.log(len(empty))
    return some, bias[None, None]


def brought_to(size: tuple[int, int], maps: Tensor) -> Tensor:
    """Maps [B, H, L, h, w] brought to a size, bilinearly: [B, H, L, *size].

    As matrix products: the backward pass of torch's own is slow, most of all on a GPU in deterministic mode.
    """
    if maps.shape[-2:] == size:
        return maps
    rows, columns = (interpolation(length, new, maps) for length, new in zip(maps.shape[-2:], size))
    return rows.T @ (maps @ columns)


def interpolation(length: int, new: int, like: Tensor) -> Tensor:
    """[length, new], the share of each value in each of the new ones, of the kind of `like`."""
    return F.interpolate(torch.eye(length, device=like.device, dtype=like.dtype)[None], new, mode="linear")[0]
