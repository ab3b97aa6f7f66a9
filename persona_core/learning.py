"""The one learning loop, for every representation and any list of loss terms.

Nothing of the diffusion model learns: the only parameters are the representation's.
Shapes: B rows of a step, R of them at once, N persona tokens, L tokens of the context, D its width, latents C x h x w,
M references.
"""

import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import torch
from torch import Tensor, nn

from .representation import Representation, TokenVectors

KEEP_EVERY = 100  # steps, so that a crash costs little


@dataclass(frozen=True)
class LearningSettings:
    """How to learn; the defaults are PersonaMagic's published recipe (section 4.1 and its code).

    decay: the learning rate falls evenly to 0 at the end, instead of staying as it is. warmup: steps in which it rises
    evenly first. Adam's first step is as long as any, but one look at noise is all that it knows: with a high rate and
    no warm-up it throws the vectors far from their word, and some people's never come back.
    """

    steps: int = 1000
    learning_rate: float = 1e-4  # 5e-5 times the batch of 2
    batch_size: int = 2
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 1e-2
    bypass_dropout: float = 0.5  # probability a look
    seed: int = 0
    decay: bool = False
    warmup: int = 0

    @property
    def noises(self) -> int:
        """How many rows are one look: the same picture, prompt and timestep, under noises of their own.

        Two from four rows a step on, unlike in the papers: there is half as much text to read, and still more than
        one look. docs/presets.md has what that costs and gives.
        """
        return 2 if self.batch_size >= 4 else 1

    def rate(self, index: int) -> float:
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

    keys, values: contexts [R, L, D] for K and V, the same object where they do not differ. persona, words: [R, L], true
    at the persona's tokens and at the other words. pooled: [R, E], for denoisers that take it (SDXL).
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
    """The frozen text encoder, differentiable in the vectors it is given."""

    def encode(self, prompts: Sequence[str], vectors: TokenVectors, rich: Sequence[str] = ()) -> TextEncoding:
        """Encode R prompts, and in the same pass look at the attention in rich ones. vectors: a row for each, those of
        the rich ones last, to stand where "{}" does."""
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

    rich: templates that no picture goes with. If given, the learning pass also tells how the text encoder looks at one
    of them. reference: a common word. If given, the learning pass also tells how its cross-attention would be with
    that word in the persona's place.
    """

    terms: Mapping[str, "LossTerm"]
    prompts: Sequence[str]
    rich: Sequence[str] = ()
    reference: "ReferenceWord | None" = None


class ReferenceWord:
    """A word [D], and prompts' contexts with it at each of the persona's tokens, so that both are as long. A prompt is
    encoded once."""

    def __init__(self, word: Tensor):
        self.word, self.known = word, {}

    @torch.no_grad()
    def contexts(self, text: TextEncoder, prompts: Sequence[str], like: TokenVectors) -> Tensor:
        """[R, L, D]."""
        new = [prompt for prompt in dict.fromkeys(prompts) if prompt not in self.known]
        if new:
            words = self.word.to(like.keys).expand(len(new), *like.keys.shape[1:])
            self.known |= zip(new, text.encode(new, TokenVectors(words, words)).keys)
        return torch.stack([self.known[prompt] for prompt in prompts])


@dataclass(frozen=True)
class Problem:
    """What is learned, from what, through which frozen models, what for, and how long and fast."""

    representation: Representation
    references: References
    text: TextEncoder
    denoiser: Denoiser
    objective: Objective
    settings: LearningSettings


@dataclass(frozen=True)
class Draws:
    """What chance decides in a step.

    picture, t: [B]. noise: [B, C, h, w]. bypass: [B], whether it is kept. prompts: B. rich, rich_t: a rich prompt and
    its timestep [1], or none where the objective has none.
    """

    picture: Tensor
    t: Tensor
    noise: Tensor
    bypass: Tensor
    prompts: Sequence[str]
    rich: Sequence[str]
    rich_t: Tensor

    def split(self, rows: int) -> "Iterator[Draws]":
        """So many rows at a time. The rich prompt goes with all."""
        for first in range(0, len(self.t), rows):
            some = slice(first, first + rows)
            yield replace(
                self,
                picture=self.picture[some],
                t=self.t[some],
                noise=self.noise[some],
                bypass=self.bypass[some],
                prompts=self.prompts[some],
            )


@dataclass(frozen=True)
class Step:
    """What a step saw, or some of its rows; every loss term is a function of it. attentions: with
    Objective.reference only."""

    encoding: TextEncoding
    prediction: Tensor
    target: Tensor
    mask: Tensor
    attentions: Sequence[CrossAttention] = ()


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
    problem: Problem,
    progress: Progress | None = None,
    on_step: Callable[[Progress], None] = lambda progress: None,
    keep: Callable[[Progress], None] = lambda progress: None,
    scaler: torch.amp.GradScaler | None = None,
    at_once: int | None = None,
) -> Progress:
    """Learn the problem's representation in place (PersonaMagic, section 3.4) and return its history.

    progress: where to go on from; the result is then that of a run which never stopped, because every step
    draws from its own generator. on_step may raise to stop. keep is given the progress with its tensors every
    KEEP_EVERY steps and when learning ends, for whatever reason.
    scaler: loss scaling, for denoisers that compute in fp16. at_once: the greatest R, all rows of a step if None; fewer
    need less memory, and what is learned is the same but for rounding. Raises LossNotFinite.
    """
    representation, objective, settings = problem.representation, problem.objective, problem.settings
    rows = at_once or settings.batch_size
    if rows < settings.batch_size:
        rows = max(1, rows - rows % settings.noises)
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
            for group in optimizer.param_groups:
                group["lr"] = settings.rate(index)
            optimizer.zero_grad()
            seen = dict.fromkeys(objective.terms, 0.0)
            draws = draw(problem, index)
            for some in draws.split(rows):
                step = see(problem, some)
                share = len(some.t) / settings.batch_size
                terms = {name: share * term(step) for name, term in objective.terms.items()}
                scaler.scale(sum(terms.values())).backward()
                for name, term in terms.items():
                    seen[name] += term.detach()
            # At once, and only now: reading a number makes a GPU wait.
            losses = dict(zip(seen, torch.stack(list(seen.values())).tolist()))
            check_finite(losses, index)
            scaler.step(optimizer)
            scaler.update()
            for name, loss in losses.items():
                progress.losses.setdefault(name, []).append(loss)
            if progress.step % KEEP_EVERY == 0:
                keep_now()
            on_step(progress)
    finally:
        keep_now()
    return progress


def draw(problem: Problem, index: int) -> Draws:
    """Pictures, timesteps, noise and prompts for step `index`: always the same."""
    stages, latents, objective = problem.representation.stages, problem.references.latents, problem.objective
    settings, rows = problem.settings, problem.settings.batch_size
    # On the CPU, and one a step: the same draws on every device, and after an interrupt. Mixed, because torch keeps
    # only 32 bits of a seed.
    generator = torch.Generator().manual_seed(random.Random(f"{settings.seed} {index}").getrandbits(32))

    look = torch.arange(rows) // settings.noises

    def templates(choice: Sequence[str], of: Tensor) -> list[str]:
        return [choice[i] for i in torch.randint(len(choice), of.shape, generator=generator)[of]]

    # One a step, however many rows: as the paper's, where a step is one row.
    rich = torch.arange(1 if objective.rich else 0)
    return Draws(
        picture=torch.randint(len(latents), (rows,), generator=generator)[look],
        t=stages.random(rows, generator)[look].to(latents.device),
        noise=torch.randn(rows, *latents.shape[1:], generator=generator).to(latents),
        bypass=(torch.rand(rows, generator=generator) >= settings.bypass_dropout)[look],
        prompts=templates(objective.prompts, look),
        rich=templates(objective.rich, rich) if len(rich) else (),
        rich_t=stages.random(len(rich), generator).to(latents.device),
    )


def see(problem: Problem, draws: Draws) -> Step:
    """Predict for what was drawn."""
    references, text, denoiser = problem.references, problem.text, problem.denoiser
    t, picture, noises = draws.t, draws.picture, problem.settings.noises
    look = slice(None, None, noises)
    rich_picture = picture[: len(draws.rich)]
    vectors = problem.representation.at(torch.cat([t[look], draws.rich_t]), torch.cat([picture[look], rich_picture]))
    encoding = text.encode(draws.prompts[look], vectors.keep_bypass(draws.bypass[look]), draws.rich)
    encoding = encoding.repeated(noises, len(t)).to(references.latents.device)
    clean, mask = references.latents[picture], references.masks[picture]
    noisy = add_noise(clean, draws.noise, denoiser.alphas_cumprod[t])
    target = denoiser.target(clean, draws.noise, t)
    seen = noisy, t, encoding.keys, encoding.values
    if problem.objective.reference is None:
        prediction, attentions = denoiser.predict(*seen, pooled=encoding.pooled), ()
    else:
        plain = problem.objective.reference.contexts(text, draws.prompts, vectors)
        prediction, attentions = denoiser.predict_watched(*seen, plain, pooled=encoding.pooled)
    return Step(encoding, prediction, target, mask, attentions)


def add_noise(latents: Tensor, noise: Tensor, alphas_cumprod: Tensor) -> Tensor:
    """z_t = sqrt(a) z + sqrt(1 - a) noise, for latents [B, C, h, w] and a [B]."""
    a = alphas_cumprod[:, None, None, None]
    return a.sqrt() * latents + (1 - a).sqrt() * noise


def check_finite(losses: Mapping[str, float], index: int) -> None:
    for name, loss in losses.items():
        if not math.isfinite(loss):
            raise LossNotFinite(f"the {name} loss became {loss} at step {index + 1}")


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
