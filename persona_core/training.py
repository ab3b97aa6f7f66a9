"""The training loop, for every representation and any list of loss terms.

Nothing of the diffusion model learns: the only parameters are the representation's.
Shapes: B rows of a step, latents C x h x w.
"""

import logging
import math
import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .budget import LOOK, budget_of
from .gradients import TokenGradients
from .loss_scale import LossScale
from .noise import add_noise
from .progress import LossNotFinite, Progress, restore, snapshot
from .representation import TokenVectors
from .task import RichContexts, Step, TrainingTask

log = logging.getLogger("persona")

SAVE_EVERY = 100  # steps, so that a crash costs little


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


def train(
    task: TrainingTask,
    progress: Progress | None = None,
    on_step: Callable[[Progress], None] = lambda progress: None,
    save: Callable[[Progress], None] = lambda progress: None,
    scale: LossScale | None = None,
    micro_batch: int | None = None,
) -> Progress:
    """Learn the task's representation in place (PersonaMagic, section 3.4) and return its history.

    progress: where to go on from; the result is then that of a run which never stopped, because every step
    draws from its own generator. on_step may raise to stop. save is given the progress with its tensors every
    SAVE_EVERY steps and when learning ends, for whatever reason.
    scale: of the loss, for denoisers that compute in fp16. micro_batch: the most rows at once, all of a step if None;
    their gradients are accumulated: it needs less memory, and what is learned is the same but for rounding. Raises
    LossNotFinite.
    """
    representation, settings = task.representation, task.settings
    rows = micro_batch or settings.batch_size
    if rows < settings.batch_size:
        rows = max(1, rows - rows % task.noise_multiplicity)
    progress, budget = progress or Progress(), budget_of(task)
    optimizer = torch.optim.AdamW(
        representation.parameters(), lr=settings.learning_rate, betas=settings.betas, weight_decay=settings.weight_decay
    )
    scale = scale or LossScale(enabled=False)
    if progress.tensors:
        restore(progress, representation, optimizer, scale)
    else:  # whatever happens, there is something to go on from
        progress.tensors = snapshot(progress, representation, optimizer, scale)

    def save_now() -> None:
        try:
            progress.tensors = snapshot(progress, representation, optimizer, scale)
        except (MemoryError, RuntimeError) as error:  # torch's; what was kept before stays, and nothing stops for it
            log.warning(
                "What is learned at step %d could not be kept, only at step %d: %s", progress.step, progress.kept, error
            )
            return
        save(progress)

    try:
        began = time.monotonic() - progress.seconds - progress.aside
        while progress.step < (planned := budget.steps(progress)):
            index, progress.planned = progress.step, planned if budget.knows(progress) else 0
            for group in optimizer.param_groups:
                group["lr"] = budget.learning_rate(progress)
            optimizer.zero_grad()
            meter, watch = budget.look(progress), None
            # In the end too: some terms do not pull where tokens are still the word.
            if meter is not None or task.objective.relative or index == planned - 1:
                photo = progress.meter.pull if progress.meter.count >= LOOK else 0.0
                watch = TokenGradients(task, scale.value, photo, progress.pulls)
            losses = accumulate(task, sample_batch(task, index).split(rows), scale, watch)
            check_finite(losses, index)
            pulls = watch.pulls if watch else progress.pulls
            # Before the step: behind it, nothing may fail before it counts.
            examples = watch.examples if watch and meter is not None else None
            if not stepped(optimizer, scale, index, all(map(math.isfinite, pulls.values()))):
                continue
            progress.pulls = pulls
            if meter is not None and examples is not None:
                meter.observe(examples)
            for name, loss in losses.items():
                progress.losses.setdefault(name, []).append(loss)
            progress.seconds = time.monotonic() - began - progress.aside
            if progress.step % SAVE_EVERY == 0:
                save_now()
            on_step(progress)
        if not all(bool(one.isfinite().all()) for one in representation.parameters()):
            raise LossNotFinite(f"what is learned became no number in its last step, {progress.step}")
        progress.in_time = budget.in_time(progress)
    finally:
        save_now()
    return progress


def accumulate(
    task: TrainingTask,
    parts: Iterable[Batch],
    scale: LossScale,
    watch: TokenGradients | None = None,
) -> dict[str, float]:
    """Add the gradients of a step's parts to the parameters. Returns the step's loss terms.

    watch: is shown each term's gradient at the tokens, and adds those of terms of a relative weight.
    """
    terms, size = task.objective.terms, task.settings.batch_size
    totals = dict.fromkeys(terms, torch.zeros(()))
    for batch in parts:
        step = forward(task, batch)
        share = len(batch.t) / size
        losses = {name: share * term(step) for name, term in terms.items()}
        if watch:
            watch.before(step, losses)
        together = (loss for name, loss in losses.items() if name not in task.objective.relative)
        (scale.value * sum(together, torch.zeros(()))).backward()
        if watch:
            watch.after(len(batch.t))
        for name, loss in losses.items():
            totals[name] = totals[name] + loss.detach()
    if watch:
        watch.finish()
    # At once, and only now: reading a number makes a GPU wait.
    return dict(zip(totals, torch.stack(list(totals.values())).tolist()))


def stepped(optimizer: torch.optim.Optimizer, scale: LossScale, index: int, finite: bool = True) -> bool:
    """Whether the optimizer took a step. Where fp16 overflowed it does not: the loss scale is halved, and the same step
    is tried again, or a short recipe would learn less than it says. finite: whether what was looked at beside the
    parameters' gradients is. Raises LossNotFinite where no scale helps."""
    gradients = [one.grad for one in parameters_of(optimizer) if one.grad is not None]
    if scale.unscale(gradients) and finite:
        step_or_nothing(optimizer)
        scale.grow()
        return True
    if scale.shrink():
        return False
    how = " in fp16" if scale.enabled else ""
    raise LossNotFinite(f"the gradient is not finite{how} at step {index + 1}{', whatever the loss scale' * bool(how)}")


@torch.no_grad()
def step_or_nothing(optimizer: torch.optim.Optimizer) -> None:
    """An optimizer's step, or where it fails, for want of memory, none: not one parameter with half a step's momentum,
    from which the same step would be taken again."""
    parameters = parameters_of(optimizer)
    before = [one.clone() for one in parameters]
    state = {one: {name: value.clone() for name, value in optimizer.state[one].items()} for one in optimizer.state}
    try:
        optimizer.step()
    except BaseException:
        for parameter, value in zip(parameters, before):
            parameter.copy_(value)
        optimizer.state.clear()
        optimizer.state.update(state)
        raise


def parameters_of(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return [one for group in optimizer.param_groups for one in group["params"]]


def sample_batch(task: TrainingTask, index: int) -> Batch:
    """Pictures, timesteps, noise and prompts for step `index`: always the same."""
    stages, latents, objective = task.representation.stages, task.references.latents, task.objective
    settings, rows, schedule = task.settings, task.settings.batch_size, task.denoiser.schedule
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
        t=schedule.random(stages, examples, generator)[example].to(latents.device),
        noise=torch.randn(rows, *latents.shape[1:], generator=generator).to(latents),
        keep_bypass=(torch.rand(examples, generator=generator) >= settings.bypass_dropout)[example],
        prompts=[objective.prompts[i] for i in drawn(len(objective.prompts))[example]],
        rich=[objective.rich[i] for i in drawn(len(objective.rich), rich)] if rich else (),
        rich_t=schedule.random(stages, rich, generator).to(latents.device),
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
    noisy = add_noise(denoiser.schedule, clean, batch.noise, t)
    target = denoiser.schedule.target(clean, batch.noise, t)
    inputs = noisy, t, encoding.keys, encoding.values
    context = rich_contexts(task, batch, vectors)
    if task.objective.reference is None:
        prediction = denoiser.predict(*inputs, pooled=encoding.pooled)
        return Step(encoding, prediction, target, mask, vectors, context=context)
    reference = task.objective.reference.contexts(text, batch.prompts, vectors)
    prediction, attentions = denoiser.predict_watched(*inputs, reference, pooled=encoding.pooled)
    return Step(encoding, prediction, target, mask, vectors, attentions, context)


def rich_contexts(task: TrainingTask, batch: Batch, vectors: TokenVectors) -> RichContexts | None:
    """Of the batch's rich prompts, where the objective asks for them."""
    word = task.objective.context
    if word is None or not batch.rich:
        return None
    those = vectors.last(len(batch.rich))
    encoding = task.text.encode(batch.rich, those)
    sides = (encoding.keys,) if encoding.values is encoding.keys else (encoding.keys, encoding.values)
    device = task.references.latents.device
    plain = word.contexts(task.text, batch.rich, those)
    return RichContexts([side.to(device) for side in sides], plain.to(device), encoding.words.to(device))


def check_finite(losses: Mapping[str, float], index: int) -> None:
    for name, loss in losses.items():
        if not math.isfinite(loss):
            raise LossNotFinite(f"the {name} loss became {loss} at step {index + 1}")
