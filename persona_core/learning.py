"""The one learning loop, for every representation and any list of loss terms.

Nothing of the diffusion model learns: the only parameters are the representation's.
Shapes: B rows, N persona tokens, L tokens of the context, D its width, latents C x h x w, M references.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor, nn

from .representation import Representation, TokenVectors

KEEP_EVERY = 100  # steps, so that a crash costs little


@dataclass(frozen=True)
class LearningSettings:
    """How to learn; the defaults are PersonaMagic's published recipe (section 4.1 and its code)."""

    steps: int = 1000
    learning_rate: float = 1e-4  # 5e-5 times the batch of 2
    batch_size: int = 2
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 1e-2
    bypass_dropout: float = 0.5  # probability a row
    seed: int = 0


@dataclass(frozen=True)
class References:
    """What is learned from: latents [M, C, h, w] as the denoiser takes them, masks [M, 1, h, w] in 0..1."""

    latents: Tensor
    masks: Tensor


@dataclass(frozen=True)
class TextEncoding:
    """Prompts with vectors in them, encoded.

    keys, values: contexts [B, L, D] for K and V, the same object where they do not differ. persona, words: [B, L], true
    at the persona's tokens and at the other words. attentions: if asked for, of each text encoder the last layer's
    probabilities [B, heads, L, L]. pooled: [B, E], for denoisers that take it (SDXL).
    """

    keys: Tensor
    values: Tensor
    persona: Tensor
    words: Tensor
    attentions: Sequence[Tensor] = ()
    pooled: Tensor | None = None


class TextEncoder(Protocol):
    """The frozen text encoder, differentiable in the vectors it is given."""

    def encode(self, prompts: Sequence[str], vectors: TokenVectors, attention: bool = False) -> TextEncoding:
        """Encode B prompts, each with its own row of `vectors` where "{}" stands."""
        ...


class Denoiser(Protocol):
    """The frozen UNet, differentiable in its contexts. alphas_cumprod: [1000] on the latents' device."""

    alphas_cumprod: Tensor

    def predict(
        self, noisy: Tensor, t: Tensor, keys: Tensor, values: Tensor, pooled: Tensor | None = None
    ) -> Tensor:
        """The model's own output [B, C, h, w] for noisy latents at timesteps t [B]."""
        ...

    def predict_watched(
        self, noisy: Tensor, t: Tensor, keys: Tensor, values: Tensor, reference: Tensor, pooled: Tensor | None = None
    ) -> tuple[Tensor, list["CrossAttention"]]:
        """The same, and how each cross-attention layer looked at the context for K and would at `reference`."""
        ...

    def target(self, latents: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """What `predict` should give: the noise, or the velocity of a v-prediction model."""
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
class Objective:
    """What is learned for. terms: their sum is minimised. prompts: templates with one "{}".

    reference: [D], the input embedding of a common word. If given, the learning pass also tells how its
    cross-attention would be with that word in the persona's place.
    """

    terms: Mapping[str, "LossTerm"]
    prompts: Sequence[str]
    reference: Tensor | None = None


@dataclass(frozen=True)
class Step:
    """What one step saw; every loss term is a function of it. attentions: with Objective.reference only."""

    t: Tensor
    vectors: TokenVectors
    encoding: TextEncoding
    prediction: Tensor
    target: Tensor
    mask: Tensor
    generator: torch.Generator
    attentions: Sequence[CrossAttention] = ()

    def draw(self, prompts: Sequence[str]) -> list[str]:
        """A random prompt for each row."""
        return draw(prompts, len(self.t), self.generator)


LossTerm = Callable[[Step], Tensor]


@dataclass
class Progress:
    """How far learning is, and all that going on from there needs.

    losses: one list a loss term, one value a step. tensors: parameters and the optimizer's state.
    """

    losses: dict[str, list[float]] = field(default_factory=dict)
    tensors: dict[str, Tensor] = field(default_factory=dict)

    @property
    def step(self) -> int:
        """Steps done."""
        return len(next(iter(self.losses.values()), []))


class LossNotFinite(ArithmeticError):
    """A loss term became NaN or infinite."""


def learn(
    representation: Representation,
    references: References,
    text: TextEncoder,
    denoiser: Denoiser,
    objective: Objective,
    settings: LearningSettings,
    progress: Progress | None = None,
    on_step: Callable[[Progress], None] = lambda progress: None,
    keep: Callable[[Progress], None] = lambda progress: None,
    scaler: torch.amp.GradScaler | None = None,
) -> Progress:
    """Learn `representation` in place (PersonaMagic, section 3.4) and return its history.

    progress: where to go on from; the result is then that of a run which never stopped, because every step
    draws from its own generator. on_step may raise to stop. keep is given the progress with its tensors every
    KEEP_EVERY steps and when learning ends, for whatever reason.
    scaler: loss scaling, for denoisers that compute in fp16. Raises LossNotFinite.
    """
    progress = progress or Progress()
    parameters = list(representation.parameters())
    optimizer = torch.optim.AdamW(
        parameters, lr=settings.learning_rate, betas=settings.betas, weight_decay=settings.weight_decay
    )
    scaler = scaler or torch.amp.GradScaler(enabled=False)
    restore(representation, optimizer, scaler, progress.tensors)

    def keep_now() -> None:
        progress.tensors = snapshot(representation, optimizer, scaler)
        keep(progress)

    try:
        for index in range(progress.step, settings.steps):
            step = see(representation, references, text, denoiser, objective, settings, index)
            losses = {name: term(step) for name, term in objective.terms.items()}
            check_finite(losses, index)
            optimizer.zero_grad()
            scaler.scale(sum(losses.values())).backward()
            scaler.step(optimizer)
            scaler.update()
            for name, loss in losses.items():
                progress.losses.setdefault(name, []).append(float(loss.detach()))
            if progress.step % KEEP_EVERY == 0:
                keep_now()
            on_step(progress)
    finally:
        keep_now()
    return progress


def see(
    representation: Representation,
    references: References,
    text: TextEncoder,
    denoiser: Denoiser,
    objective: Objective,
    settings: LearningSettings,
    index: int,
) -> Step:
    """Draw pictures, timesteps in the dynamic stage, noise and prompts for step `index`, and predict."""
    latents, stages, rows = references.latents, representation.stages, settings.batch_size
    # On the CPU, and one a step: the same draws on every device, and after an interrupt. Mixed, because torch keeps
    # only 32 bits of a seed.
    generator = torch.Generator().manual_seed(random.Random(f"{settings.seed} {index}").getrandbits(32))
    picture = torch.randint(len(latents), (rows,), generator=generator)
    t = torch.randint(stages.t_lo, stages.t_hi + 1, (rows,), generator=generator).to(latents.device)
    noise = torch.randn(rows, *latents.shape[1:], generator=generator).to(latents)
    vectors = representation.at(t, picture).drop_bypass(settings.bypass_dropout, generator)
    prompts = draw(objective.prompts, rows, generator)
    encoding = text.encode(prompts, vectors)
    clean, mask = latents[picture], references.masks[picture]
    noisy = add_noise(clean, noise, denoiser.alphas_cumprod[t])
    target = denoiser.target(clean, noise, t)
    seen = noisy, t, encoding.keys, encoding.values
    if objective.reference is None:
        prediction, attentions = denoiser.predict(*seen, pooled=encoding.pooled), ()
    else:
        plain = encode_word(text, prompts, objective.reference, vectors)
        prediction, attentions = denoiser.predict_watched(*seen, plain, pooled=encoding.pooled)
    return Step(t, vectors, encoding, prediction, target, mask, generator, attentions)


@torch.no_grad()
def encode_word(text: TextEncoder, prompts: Sequence[str], word: Tensor, like: TokenVectors) -> Tensor:
    """The prompts' context [B, L, D] with a word [D] at each of the persona's tokens, so that both are as long."""
    words = word.to(like.keys).expand_as(like.keys)
    return text.encode(prompts, TokenVectors(words, words)).keys


def draw(prompts: Sequence[str], rows: int, generator: torch.Generator) -> list[str]:
    """A random prompt for each row."""
    return [prompts[i] for i in torch.randint(len(prompts), (rows,), generator=generator)]


def add_noise(latents: Tensor, noise: Tensor, alphas_cumprod: Tensor) -> Tensor:
    """z_t = sqrt(a) z + sqrt(1 - a) noise, for latents [B, C, h, w] and a [B]."""
    a = alphas_cumprod[:, None, None, None]
    return a.sqrt() * latents + (1 - a).sqrt() * noise


def check_finite(losses: Mapping[str, Tensor], index: int) -> None:
    for name, loss in losses.items():
        if not torch.isfinite(loss):
            raise LossNotFinite(f"the {name} loss became {loss.item()} at step {index + 1}")


def snapshot(
    representation: nn.Module, optimizer: torch.optim.Optimizer, scaler: torch.amp.GradScaler
) -> dict[str, Tensor]:
    """Parameters, optimizer and loss scale as one flat dict of CPU tensors."""
    tensors = {f"parameter.{name}": value for name, value in representation.named_parameters()}
    for index, moments in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": value for name, value in moments.items()}
    tensors |= {f"scaler.{name}": torch.tensor(value) for name, value in scaler.state_dict().items()}
    return {name: value.detach().cpu().clone() for name, value in tensors.items()}


def restore(
    representation: nn.Module,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    tensors: Mapping[str, Tensor],
) -> None:
    """Undo `snapshot`; nothing happens without tensors."""
    if not tensors:
        return
    with torch.no_grad():
        for name, value in representation.named_parameters():
            value.copy_(tensors[f"parameter.{name}"])
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        kind, _, name = key.partition(".")
        if kind == "optimizer":
            index, _, moment = name.partition(".")
            state.setdefault(int(index), {})[moment] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
    scale = {key.partition(".")[2]: value.item() for key, value in tensors.items() if key.startswith("scaler.")}
    if scale:
        scaler.load_state_dict(scale)
