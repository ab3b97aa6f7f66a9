"""What a training task is made of: what text encoder, denoiser, losses and the learning loop hand each other.

Shapes: B rows of a step, R of them at once, N persona tokens, L tokens of the context, D its width, latents C x h x w,
P rich prompts, M references.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import torch
from torch import Tensor

from .noise import NoiseSchedule
from .representation import Learnable, TokenVectors, initializers

NOISE = "noise"  # the name of the loss term that tells who it is; others keep something as it is


@dataclass(frozen=True)
class TrainingSettings:
    """How to learn; the defaults are PersonaMagic's published recipe (section 4.1 and its code).

    decay: the learning rate falls evenly to 0 at the end, instead of staying as it is. warmup: steps in which it rises
    evenly first. Adam's first step is as long as any, but all it knows is one batch's noise: with a high rate and no
    warm-up it throws the vectors far from their word, and some people's never come back. measured: as many of the steps
    as the signal in the gradients asks for, at rates that follow from it (`budget`). minutes: that learning may take at
    most then; 0: as long as it needs. learning_rate: 0 if it is measured too.
    """

    steps: int = 1000
    learning_rate: float = 1e-4  # 5e-5 times the batch of 2
    batch_size: int = 2
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 1e-2
    bypass_dropout: float = 0.5  # probability an example, see Learnable
    seed: int = 0
    decay: bool = False
    warmup: int = 0
    measured: bool = False
    minutes: float = 0.0

    def learning_rate_at(self, index: int) -> float:
        """The learning rate of step `index`, from 0."""
        rising = min(1, (index + 1) / max(self.warmup, 1))
        falling = 1 - index / self.steps if self.decay else 1
        return self.learning_rate * rising * falling


@dataclass(frozen=True)
class References:
    """What is learned from: latents [M, C, h, w] as the denoiser takes them, masks [M, 1, h, w] in 0..1."""

    latents: Tensor
    masks: Tensor


@dataclass(frozen=True)
class RichPrompts:
    """How prompts that no picture goes with look at themselves, with a step's vectors in them.

    persona, words: [P, L], true at the persona's tokens and at the other words. attentions: the last layer's
    probabilities [P, heads, L, L] of each text encoder, with K's tokens and, where V has its own, with those.
    """

    persona: Tensor
    words: Tensor
    attentions: Sequence[Tensor]


@dataclass(frozen=True)
class TextEncoding:
    """Prompts with vectors in them, encoded.

    keys, values: contexts (encoder hidden states) [R, L, D] for K and V, the same object where they do not differ.
    persona, words: [R, L], true at the persona's tokens and at the other words. pooled: [R, E], for denoisers that take
    it (SDXL).
    """

    keys: Tensor
    values: Tensor
    persona: Tensor
    words: Tensor
    rich: RichPrompts
    pooled: Tensor | None = None

    def repeated(self, times: int, rows: int) -> "TextEncoding":
        """Each row so many times, one after the other, and so many rows in all."""
        return self if times == 1 else self.changed(lambda tensor: tensor.repeat_interleave(times, 0)[:rows])

    def to(self, device: torch.device) -> "TextEncoding":
        """All of it on one device: a host may keep its text encoders on another than the denoiser."""
        moved, rich = self.changed(lambda tensor: tensor.to(device)), self.rich
        attentions = [attention.to(device) for attention in rich.attentions]
        return replace(moved, rich=RichPrompts(rich.persona.to(device), rich.words.to(device), attentions))

    def changed(self, change: Callable[[Tensor], Tensor]) -> "TextEncoding":
        """Of the prompts that pictures go with."""
        keys = change(self.keys)
        return replace(
            self,
            keys=keys,
            values=keys if self.values is self.keys else change(self.values),
            persona=change(self.persona),
            words=change(self.words),
            pooled=None if self.pooled is None else change(self.pooled),
        )


class TextEncoder(Protocol):
    """The frozen text encoder, differentiable in the vectors it is given. fixed_length: whether all prompts are as
    long, so that it makes no difference to one which others are encoded with it."""

    fixed_length: bool

    def encode(self, prompts: Sequence[str], vectors: TokenVectors, rich: Sequence[str] = ()) -> TextEncoding:
        """Encode R prompts, and in the same pass look at the attention in rich ones. vectors: a row for each that has a
        "{}", those of the rich ones last, to stand there."""
        ...


class Denoiser(Protocol):
    """The frozen UNet or transformer, differentiable in its contexts. schedule: on the latents' device."""

    schedule: NoiseSchedule

    def predict(self, noisy: Tensor, t: Tensor, keys: Tensor, values: Tensor, pooled: Tensor | None = None) -> Tensor:
        """The model's own output [B, C, h, w] for noisy latents at timesteps t [B]."""
        ...

    def predict_watched(
        self, noisy: Tensor, t: Tensor, keys: Tensor, values: Tensor, reference: Tensor, pooled: Tensor | None = None
    ) -> tuple[Tensor, list["CrossAttention"]]:
        """The same, and how each cross-attention layer looked at the context for K and would at `reference`."""
        ...


@dataclass(frozen=True)
class CrossAttention:
    """One cross-attention layer in a learning pass, before its softmax.

    queries: [B, h w, heads d]. keys, reference: [B, L, heads d], of the persona's prompt and of the reference
    prompt. shape: (h, w). latent: (h, w) of the latents.
    """

    queries: Tensor
    keys: Tensor
    reference: Tensor
    heads: int
    shape: tuple[int, int]
    latent: tuple[int, int]


@dataclass(frozen=True)
class RichContexts:
    """Contexts of rich prompts [P, L, D], for K and, where it differs, for V; beside them those with the common word at
    each of the persona's tokens. words: [P, L], true at the other words."""

    sides: Sequence[Tensor]
    plain: Tensor
    words: Tensor


@dataclass(frozen=True)
class Step:
    """What a step saw, or some of its rows; every loss term is a function of it. vectors: those of its examples, then
    of the rich prompts. attentions: with Objective.reference only. context: with Objective.context only."""

    encoding: TextEncoding
    prediction: Tensor
    target: Tensor
    mask: Tensor
    vectors: TokenVectors
    attentions: Sequence[CrossAttention] = ()
    context: RichContexts | None = None


LossTerm = Callable[[Step], Tensor]


@dataclass(frozen=True)
class Objective:
    """What is learned for. terms: their sum is minimised. prompts: templates with one "{}".

    rich: templates that no picture goes with. If given, the learning pass also tells how the text encoder looks at one
    of them. reference: a common word. If given, the learning pass also tells how its cross-attention would be with
    that word in the persona's place. context: a common word. If given, it also tells the contexts of rich prompts, with
    the persona and with that word. relative: how many times as hard as the photo a term may pull at the tokens at
    most; terms that are not named have the weight that they come with.
    """

    terms: Mapping[str, LossTerm]
    prompts: Sequence[str]
    rich: Sequence[str] = ()
    reference: "ReferenceWord | None" = None
    context: "ReferenceWord | None" = None
    relative: Mapping[str, float] = field(default_factory=dict)


class ReferenceWord:
    """A word [D] or [S, D], and prompts' contexts with it at each of the persona's tokens, so that both are as long. A
    prompt is encoded once."""

    def __init__(self, word: Tensor):
        self.word = word
        self.known: dict[str, Tensor] = {}

    @torch.no_grad()
    def contexts(self, text: TextEncoder, prompts: Sequence[str], like: TokenVectors) -> Tensor:
        """[R, L, D]."""
        new = [prompt for prompt in dict.fromkeys(prompts) if prompt not in self.known]
        if new:
            words = initializers(self.word.to(like.keys), like.keys.shape[1]).expand(len(new), *like.keys.shape[1:])
            self.known |= zip(new, text.encode(new, TokenVectors(words, words)).keys)
        return torch.stack([self.known[prompt] for prompt in prompts])


@dataclass(frozen=True)
class TrainingTask:
    """What is learned, from what, through which frozen models, what for, and how long and fast."""

    representation: Learnable
    references: References
    text: TextEncoder
    denoiser: Denoiser
    objective: Objective
    settings: TrainingSettings

    @property
    def noise_multiplicity(self) -> int:
        """How many rows of a step are one example: as many as the representation allows, if two examples are left."""
        allowed = self.representation.noise_multiplicity
        return allowed if self.settings.batch_size >= 2 * allowed else 1
