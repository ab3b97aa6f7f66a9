"""The training loop, for every representation and any list of loss terms.

Nothing of the diffusion model learns: the only parameters are the representation's.
Shapes: B rows of a step, latents C x h x w.
"""

import math
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from .task import Step, TrainingTask

SAVE_EVERY = 100  # steps, so that a crash costs little
SMALLEST_SCALE = 2**-20  # of a loss: what overflows with it is not finite at all


@dataclass(frozen=True)
class Batch:
    """What chance decides in a step. Rows of one example (a picture, a prompt, a timestep) differ in their noise alone.

    picture, t: [B]. noise: [B, C, h, w]. keep_bypass: [B]. prompts: B. rich, rich_t: a rich prompt and
    its timestep [1], or none where the objective has none.
    """

    picture: Tensor
    t: Tensor
    noise: Tensor
    keep_bypass: Tensor
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
                keep_bypass=self.keep_bypass[some],
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
    """A loss term or its gradient became NaN or infinite."""


def train(
    task: TrainingTask,
    progress: Progress | None = None,
    on_step: Callable[[Progress], None] = lambda progress: None,
    save: Callable[[Progress], None] = lambda progress: None,
    scaler: torch.amp.GradScaler | None = None,
    micro_batch: int | None = None,
) -> Progress:
    """Learn the task's representation in place (PersonaMagic, section 3.4) and return its history.

    progress: where to go on from; the result is then that of a run which never stopped, because every step
    draws from its own generator. on_step may raise to stop. save is given the progress with its tensors every
    SAVE_EVERY steps and when learning ends, for whatever reason.
    scaler: loss scaling, for denoisers that compute in fp16. micro_batch: the most rows at once, all of a step if None;
    their gradients are
    accumulated: it needs less memory, and what is learned is the same but for rounding. Raises LossNotFinite.
    """
    representation, settings = task.representation, task.settings
    rows = micro_batch or settings.batch_size
    if rows < settings.batch_size:
        rows = max(1, rows - rows % task.noise_multiplicity)
    progress = progress or Progress()
    parameters = list(representation.parameters())
    optimizer = torch.optim.AdamW(
        parameters, lr=settings.learning_rate, betas=settings.betas, weight_decay=settings.weight_decay
    )
    scaler = scaler or torch.amp.GradScaler(enabled=False)
    restore(representation, optimizer, scaler, progress.tensors)

    def save_now() -> None:
        progress.tensors = snapshot(representation, optimizer, scaler)
        save(progress)

    try:
        while progress.step < settings.steps:
            index = progress.step
            for group in optimizer.param_groups:
                group["lr"] = settings.learning_rate_at(index)
            optimizer.zero_grad()
            losses = accumulate(task, sample_batch(task, index).split(rows), scaler)
            check_finite(losses, index)
            if not stepped(optimizer, scaler, index):
                continue
            for name, loss in losses.items():
                progress.losses.setdefault(name, []).append(loss)
            if progress.step % SAVE_EVERY == 0:
                save_now()
            on_step(progress)
    finally:
        save_now()
    return progress


def accumulate(task: TrainingTask, parts: Iterable[Batch], scaler: torch.amp.GradScaler) -> dict[str, float]:
    """Add the gradients of a step's parts to the parameters, and return the step's loss terms."""
    terms = task.objective.terms
    totals = dict.fromkeys(terms, torch.zeros(()))
    for batch in parts:
        step = forward(task, batch)
        share = len(batch.t) / task.settings.batch_size
        losses = {name: share * term(step) for name, term in terms.items()}
        scaler.scale(sum(losses.values(), torch.zeros(()))).backward()
        for name, loss in losses.items():
            totals[name] = totals[name] + loss.detach()
    # At once, and only now: reading a number makes a GPU wait.
    return dict(zip(totals, torch.stack(list(totals.values())).tolist()))


def stepped(optimizer: torch.optim.Optimizer, scaler: torch.amp.GradScaler, index: int) -> bool:
    """Whether the optimizer took a step. Where fp16 overflowed it does not: the loss scale is halved, and the same step
    is tried again, or a short recipe would learn less than it says. Raises LossNotFinite where no scale helps."""
    scale = scaler.get_scale()
    scaler.step(optimizer)
    scaler.update()
    if scaler.get_scale() >= scale:
        return True
    if scale < SMALLEST_SCALE:
        raise LossNotFinite(f"the gradient is not finite in fp16 at step {index + 1}, whatever the loss scale")
    return False


def sample_batch(task: TrainingTask, index: int) -> Batch:
    """Pictures, timesteps, noise and prompts for step `index`: always the same."""
    stages, latents, objective = task.representation.stages, task.references.latents, task.objective
    settings, rows = task.settings, task.settings.batch_size
    # On the CPU, and one a step: the same draws on every device, and after an interrupt. Mixed, because torch keeps
    # only 32 bits of a seed.
    generator = torch.Generator().manual_seed(random.Random(f"{settings.seed} {index}").getrandbits(32))

    example = torch.arange(rows) // task.noise_multiplicity  # of each row
    examples = int(example[-1]) + 1

    def drawn(highest: int, count: int = examples) -> Tensor:
        return torch.randint(highest, (count,), generator=generator)

    # One a step, however many rows: as the paper's, where a step is one row.
    rich = 1 if objective.rich else 0
    return Batch(
        picture=drawn(len(latents))[example],
        t=stages.random(examples, generator)[example].to(latents.device),
        noise=torch.randn(rows, *latents.shape[1:], generator=generator).to(latents),
        keep_bypass=(torch.rand(examples, generator=generator) >= settings.bypass_dropout)[example],
        prompts=[objective.prompts[i] for i in drawn(len(objective.prompts))[example]],
        rich=[objective.rich[i] for i in drawn(len(objective.rich), rich)] if rich else (),
        rich_t=stages.random(rich, generator).to(latents.device),
    )


def forward(task: TrainingTask, batch: Batch) -> Step:
    """What the models make of a batch."""
    references, text, denoiser = task.references, task.text, task.denoiser
    t, picture = batch.t, batch.picture
    # The text encoder reads an example once, whatever number of noises it goes with.
    each = slice(None, None, task.noise_multiplicity)
    rich_picture = picture[: len(batch.rich)]
    vectors = task.representation.at(torch.cat([t[each], batch.rich_t]), torch.cat([picture[each], rich_picture]))
    encoding = text.encode(batch.prompts[each], vectors.keep_bypass(batch.keep_bypass[each]), batch.rich)
    encoding = encoding.to(references.latents.device).repeated(task.noise_multiplicity, len(t))
    clean, mask = references.latents[picture], references.masks[picture]
    noisy = add_noise(clean, batch.noise, denoiser.alphas_cumprod[t])
    target = denoiser.target(clean, batch.noise, t)
    inputs = noisy, t, encoding.keys, encoding.values
    if task.objective.reference is None:
        return Step(encoding, denoiser.predict(*inputs, pooled=encoding.pooled), target, mask)
    reference = task.objective.reference.contexts(text, batch.prompts, vectors)
    prediction, attentions = denoiser.predict_watched(*inputs, reference, pooled=encoding.pooled)
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
    for index, values in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": value for name, value in values.items()}
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
