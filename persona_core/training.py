"""The training loop, for every representation and any list of loss terms, of one persona or of several at once.

Nothing of the diffusion model learns: the only parameters are the representations'.
Shapes: B rows of a step, latents C x h x w.
"""

import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice

import torch
from torch import Tensor

from .batch import Batch, sample_batch
from .budget import LOOK, budget_of
from .gradients import TokenGradients, look
from .loss_scale import LossScale
from .passes import Share, forward_together, shares_a_pass
from .progress import LossNotFinite, Progress, restore, snapshot
from .task import Step, TrainingTask

log = logging.getLogger("persona")

SAVE_EVERY = 100  # steps, so that a crash costs little


class Learning:
    """One persona while it is learned, in place (PersonaMagic, section 3.4).

    progress: where to go on from; the result is then that of a run which never stopped, because every step draws from
    its own generator. on_step may raise to stop. save is given the progress with its tensors every SAVE_EVERY steps and
    when learning ends, for whatever reason. scale: of the loss, for denoisers that compute in fp16. error: why it
    cannot go on.
    """

    def __init__(
        self,
        task: TrainingTask,
        progress: Progress | None = None,
        on_step: Callable[[Progress], None] = lambda progress: None,
        save: Callable[[Progress], None] = lambda progress: None,
        scale: LossScale | None = None,
    ):
        self.task, self.on_step, self.save = task, on_step, save
        self.progress, self.budget = progress or Progress(), budget_of(task)
        self.scale = scale or LossScale(enabled=False)
        self.error: LossNotFinite | None = None
        settings = task.settings
        self.optimizer = torch.optim.AdamW(
            task.representation.parameters(),
            lr=settings.learning_rate,
            betas=settings.betas,
            weight_decay=settings.weight_decay,
        )
        if self.progress.tensors:
            restore(self.progress, task.representation, self.optimizer, self.scale)
        else:  # whatever happens, there is something to go on from
            self.progress.tensors = self.snapshot()

    def again(self) -> "Learning":
        """The same, from where its progress was kept."""
        return Learning(self.task, self.progress, self.on_step, self.save, LossScale(self.scale.enabled))

    @property
    def done(self) -> bool:
        return self.error is not None or self.progress.step >= self.budget.steps(self.progress)

    def begin(self) -> Batch:
        """What the next step sees."""
        progress, budget, index = self.progress, self.budget, self.progress.step
        planned = budget.steps(progress)
        progress.planned = planned if budget.knows(progress) else 0
        for group in self.optimizer.param_groups:
            group["lr"] = budget.learning_rate(progress)
        self.optimizer.zero_grad()
        self.meter, self.watch = budget.look(progress), None
        # In the end too: some terms do not pull where tokens are still the word.
        if self.meter is not None or self.task.objective.relative or index == planned - 1:
            photo = progress.meter.pull if progress.meter.count >= LOOK else 0.0
            self.watch = TokenGradients(self.task, self.scale.value, photo, progress.pulls)
        self.totals = dict.fromkeys(self.task.objective.terms, torch.zeros(()))
        return sample_batch(self.task, index)

    def losses(self, step: Step, rows: int) -> dict[str, Tensor]:
        """The loss terms of a part of the step, of so many rows."""
        share = rows / self.task.settings.batch_size
        losses = {name: share * term(step) for name, term in self.task.objective.terms.items()}
        for name, loss in losses.items():
            self.totals[name] = self.totals[name] + loss.detach()
        return losses

    def end(self, seconds: float) -> None:
        """Learn from the gradients of all parts. seconds: that they took, of which others may have had a part."""
        progress, began, aside = self.progress, time.monotonic(), self.progress.aside
        progress.seconds += seconds
        try:
            self.step_from_gradients()
        except LossNotFinite as error:
            self.error = error
        progress.seconds += time.monotonic() - began - (progress.aside - aside)

    def step_from_gradients(self) -> None:
        progress, index = self.progress, self.progress.step
        if self.watch:
            self.watch.finish()
        # At once, and only now: reading a number makes a GPU wait.
        losses = dict(zip(self.totals, torch.stack(list(self.totals.values())).tolist()))
        check_finite(losses, index)
        pulls = self.watch.pulls if self.watch else progress.pulls
        # Before the step: behind it, nothing may fail before it counts.
        examples = self.watch.examples if self.watch and self.meter is not None else None
        if not stepped(self.optimizer, self.scale, index, all(map(math.isfinite, pulls.values()))):
            return
        progress.pulls = pulls
        if self.meter is not None and examples is not None:
            self.meter.observe(examples)
        for name, loss in losses.items():
            progress.losses.setdefault(name, []).append(loss)
        if progress.step % SAVE_EVERY == 0:
            self.keep()
        self.on_step(progress)

    def finish(self) -> None:
        """When it is done."""
        parameters = self.task.representation.parameters()
        if self.error is None and not all(bool(one.isfinite().all()) for one in parameters):
            self.error = LossNotFinite(f"what is learned became no number in its last step, {self.progress.step}")
        self.progress.in_time = self.budget.in_time(self.progress)
        self.keep()

    def keep(self) -> None:
        """How far it is."""
        progress = self.progress
        try:
            progress.tensors = self.snapshot()
        except (MemoryError, RuntimeError) as error:  # torch's; what was kept before stays, and nothing stops for it
            log.warning(
                "What is learned at step %d could not be kept, only at step %d: %s", progress.step, progress.kept, error
            )
            return
        self.save(progress)

    def snapshot(self) -> dict[str, Tensor]:
        return snapshot(self.progress, self.task.representation, self.optimizer, self.scale)


def train(
    task: TrainingTask,
    progress: Progress | None = None,
    on_step: Callable[[Progress], None] = lambda progress: None,
    save: Callable[[Progress], None] = lambda progress: None,
    scale: LossScale | None = None,
    micro_batch: int | None = None,
) -> Progress:
    """Learn one task's representation, see Learning, and return its history. micro_batch: see `train_together`. Raises
    LossNotFinite."""
    (done,) = train_together([Learning(task, progress, on_step, save, scale)], micro_batch=micro_batch)
    if done.error:
        raise done.error
    return done.progress


def train_together(waiting: Iterable[Learning], at_once: int = 1, micro_batch: int | None = None) -> Iterator[Learning]:
    """Learn several personas, so many at once, and yield each when it is done: then the next one takes its place.

    Their rows go through the frozen models in the same passes, where they can, and each has an optimizer of its own:
    what is learned is the same as alone but for rounding. One whose loss is not finite has an error, and stops no
    other. micro_batch: the most rows at once, all there are if None. Of a step with more, gradients are accumulated: it
    needs less memory, and what is learned is the same but for rounding.
    """
    left = iter(waiting)
    running: list[Learning] = []
    try:
        while True:
            running += islice(left, at_once - len(running))
            if not running:
                return
            finished = [one for one in running if one.done]
            if not finished:
                take_step(running, micro_batch)
            for one in finished:
                running.remove(one)
                one.finish()
                yield one
    finally:
        for one in running:
            one.keep()


def take_step(running: Sequence[Learning], micro_batch: int | None) -> None:
    """A step of each. Each counts the time of its rows' share, and of what is done for it alone."""
    began = time.monotonic()
    begun = [(one, one.begin()) for one in running]
    for part in parts(begun, micro_batch):
        backward(part)
    a_row = (time.monotonic() - began) / sum(len(batch.t) for _, batch in begun)
    for one, batch in begun:
        one.end(a_row * len(batch.t))


def parts(begun: Sequence[tuple[Learning, Batch]], rows: int | None) -> Iterator[list[tuple[Learning, Batch]]]:
    """Passes of at most so many rows: of several personas, or of a part of one's."""
    passes: list[list[tuple[Learning, Batch]]] = []
    for one, batch in begun:
        size = len(batch.t)
        if rows is not None and rows < size:
            whole_examples = max(1, rows - rows % one.task.noise_multiplicity)
            yield from ([(one, some)] for some in batch.split(whole_examples))
            continue
        for others in passes:
            there = sum(len(other.t) for _, other in others)
            if (rows is None or there + size <= rows) and shares_a_pass(others[0][0].task, one.task):
                others.append((one, batch))
                break
        else:
            passes.append([(one, batch)])
    yield from passes


def backward(part: Sequence[tuple[Learning, Batch]]) -> None:
    """Add the gradients of a pass to the parameters of each."""
    steps = forward_together([Share(one.task, batch) for one, batch in part])
    losses = [one.losses(step, len(batch.t)) for (one, batch), step in zip(part, steps)]
    look((one.watch, step, terms) for (one, _), step, terms in zip(part, steps, losses) if one.watch)
    weighted = [one.scale.value * summed(one.task, terms) for (one, _), terms in zip(part, losses)]
    sum(weighted[1:], weighted[0]).backward()
    for one, batch in part:
        if one.watch:
            one.watch.after(len(batch.t))


def summed(task: TrainingTask, losses: Mapping[str, Tensor]) -> Tensor:
    """The sum of the terms but for those of a relative weight, whose gradients are added later."""
    return sum((loss for name, loss in losses.items() if name not in task.objective.relative), torch.zeros(()))


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


def check_finite(losses: Mapping[str, float], index: int) -> None:
    for name, loss in losses.items():
        if not math.isfinite(loss):
            raise LossNotFinite(f"the {name} loss became {loss} at step {index + 1}")
