"""The one learning loop, for every representation and any list of loss terms.

Nothing of the diffusion model learns: the only parameters are the representation's.
Shapes: B rows of a step, latents C x h x w.
"""

import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from .task import Step, TrainingTask

KEEP_EVERY = 100  # steps, so that a crash costs little


@dataclass(frozen=True)
class Batch:
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

    def split(self, rows: int) -> "Iterator[Batch]":
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


def train(
    problem: TrainingTask,
    progress: Progress | None = None,
    on_step: Callable[[Progress], None] = lambda progress: None,
    keep: Callable[[Progress], None] = lambda progress: None,
    scaler: torch.amp.GradScaler | None = None,
    micro_batch: int | None = None,
) -> Progress:
    """Learn the problem's representation in place (PersonaMagic, section 3.4) and return its history.

    progress: where to go on from; the result is then that of a run which never stopped, because every step
    draws from its own generator. on_step may raise to stop. keep is given the progress with its tensors every
    KEEP_EVERY steps and when learning ends, for whatever reason.
    scaler: loss scaling, for denoisers that compute in fp16. micro_batch: the most rows at once, all of a step if None;
    fewer need less memory, and what is learned is the same but for rounding. Raises LossNotFinite.
    """
    representation, objective, settings = problem.representation, problem.objective, problem.settings
    rows = micro_batch or settings.batch_size
    if rows < settings.batch_size:
        rows = max(1, rows - rows % problem.noises_per_look)
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
            seen = dict.fromkeys(objective.terms, torch.zeros(()))
            draws = sample_batch(problem, index)
            for some in draws.split(rows):
                step = forward(problem, some)
                share = len(some.t) / settings.batch_size
                terms = {name: share * term(step) for name, term in objective.terms.items()}
                scaler.scale(sum(terms.values(), torch.zeros(()))).backward()
                for name, term in terms.items():
                    seen[name] = seen[name] + term.detach()
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


def sample_batch(problem: TrainingTask, index: int) -> Batch:
    """Pictures, timesteps, noise and prompts for step `index`: always the same."""
    stages, latents, objective = problem.representation.stages, problem.references.latents, problem.objective
    settings, rows = problem.settings, problem.settings.batch_size
    # On the CPU, and one a step: the same draws on every device, and after an interrupt. Mixed, because torch keeps
    # only 32 bits of a seed.
    generator = torch.Generator().manual_seed(random.Random(f"{settings.seed} {index}").getrandbits(32))

    look = torch.arange(rows) // problem.noises_per_look  # of each row
    looks = int(look[-1]) + 1

    def drawn(highest: int, count: int = looks) -> Tensor:
        return torch.randint(highest, (count,), generator=generator)

    # One a step, however many rows: as the paper's, where a step is one row.
    rich = 1 if objective.rich else 0
    return Batch(
        picture=drawn(len(latents))[look],
        t=stages.random(looks, generator)[look].to(latents.device),
        noise=torch.randn(rows, *latents.shape[1:], generator=generator).to(latents),
        bypass=(torch.rand(looks, generator=generator) >= settings.bypass_dropout)[look],
        prompts=[objective.prompts[i] for i in drawn(len(objective.prompts))[look]],
        rich=[objective.rich[i] for i in drawn(len(objective.rich), rich)] if rich else (),
        rich_t=stages.random(rich, generator).to(latents.device),
    )


def forward(problem: TrainingTask, draws: Batch) -> Step:
    """Predict for what was drawn."""
    references, text, denoiser = problem.references, problem.text, problem.denoiser
    t, picture, noises = draws.t, draws.picture, problem.noises_per_look
    look = slice(None, None, noises)
    rich_picture = picture[: len(draws.rich)]
    vectors = problem.representation.at(torch.cat([t[look], draws.rich_t]), torch.cat([picture[look], rich_picture]))
    encoding = text.encode(draws.prompts[look], vectors.keep_bypass(draws.bypass[look]), draws.rich)
    encoding = encoding.to(references.latents.device).repeated(noises, len(t))
    clean, mask = references.latents[picture], references.masks[picture]
    noisy = add_noise(clean, draws.noise, denoiser.alphas_cumprod[t])
    target = denoiser.target(clean, draws.noise, t)
    seen = noisy, t, encoding.keys, encoding.values
    if problem.objective.reference is None:
        return Step(encoding, denoiser.predict(*seen, pooled=encoding.pooled), target, mask)
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
    tensors: dict[str, Tensor] = {f"parameter.{name}": value for name, value in representation.named_parameters()}
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
        for name, parameter in representation.named_parameters():
            parameter.copy_(tensors[f"parameter.{name}"])
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
