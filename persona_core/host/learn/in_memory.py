"""Learning in the memory there is, whatever was thought before of how much that would be."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import comfy.model_management
import torch
from comfy.model_patcher import ModelPatcher

from ...loss_scale import LossScale
from ...progress import LossNotFinite, Progress
from ...task import TrainingTask
from ...training import Learning, train_together
from ..messages import log, warn
from .denoiser import PIXELS
from .memory import fit_into_memory, gradient_checkpointing, layers_to_checkpoint, out_of_memory, smallest
from .offload import outside, placed

GIGABYTE = 2**30


class TooLittleMemory(MemoryError):
    """Learning does not fit in any way."""


@dataclass(frozen=True, eq=False)
class Lesson:
    """One persona to be learned: its task, how far it is, and what is done after each step and to keep it."""

    task: TrainingTask
    progress: Progress
    on_step: Callable[[Progress], None] = lambda progress: None
    save: Callable[[Progress], None] = lambda progress: None

    def learning(self) -> Learning:
        """From where its progress was kept."""
        scale = LossScale(enabled=self.task.denoiser.dtype == torch.float16)
        return Learning(self.task, self.progress, self.on_step, self.save, scale)


def train_in_memory(
    lessons: Sequence[Lesson],
    patchers: Sequence[ModelPatcher],
    at_once: int = 1,
    on_done: Callable[[Lesson, LossNotFinite | None], None] = lambda lesson, error: None,
    on_trouble: Callable[[str], None] = warn,
    off: Sequence[ModelPatcher] = (),
    last: bool = True,
) -> None:
    """`train_together` in the memory there is; and if that was misjudged, say so and go on with what needs least.

    lessons: alike in size, through the same models; on_done is told when one is over, and why it was not learned.
    patchers: of the models. off: those that stay off the device. Raises TooLittleMemory, and NoRoom unless this is the
    last way.
    """
    left, task = list(lessons), lessons[0].task
    denoiser, rows = task.denoiser, task.settings.batch_size
    at_once = min(at_once, len(left))
    layers = layers_to_checkpoint(denoiser.diffusion_model, denoiser.device)
    whole = denoiser.patcher not in off
    first, room = fit_into_memory(task, patchers, off, last, at_once)
    running: list[Lesson] = []

    def begun() -> Iterator[Learning]:
        for lesson in list(left):
            running.append(lesson)
            yield lesson.learning()

    for fitted in dict.fromkeys((first, smallest(layers, () if whole else layers))):
        how = (
            f"{fitted.micro_batch} of {rows * at_once} pictures at once, {len(fitted.checkpointed)} of {len(layers)} "
            "layers computed twice"
        )
        if off:
            text = ", the text encoder" if any(patcher is not denoiser.patcher for patcher in off) else ""
            how += f"; off the device but for their turns{text}, {len(fitted.lent)} of {len(layers)} layers"
        log.info("Learning in %s and %.1f GB: %s", denoiser.dtype, room / GIGABYTE, how)
        if fitted != first:
            on_trouble(f"Out of memory {whence([one.progress for one in running])} with {how}.")
        resident = () if whole else outside(denoiser.patcher.model, fitted.lent)
        running.clear()
        try:
            with placed(resident, denoiser.device), gradient_checkpointing(fitted.checkpointed):
                for done in train_together(begun(), at_once, fitted.micro_batch):
                    lesson = next(one for one in running if one.task is done.task)
                    running.remove(lesson)
                    left.remove(lesson)
                    on_done(lesson, done.error)
            return
        except Exception as error:
            if not out_of_memory(error):
                raise
        # Here, where the error is gone, which held on to all that was computed.
        comfy.model_management.soft_empty_cache()
    kept = max(one.progress.kept for one in running)
    kept = f"How far it was after step {kept}" if kept else "Nothing that was learned"
    height, width = (PIXELS * side for side in task.references.latents.shape[-2:])
    raise TooLittleMemory(
        f"Learning needs more memory than there is: one picture of {width}x{height} pixels at a time does not fit, "
        "even with every layer computed twice. Lower the resolution, or close what else uses this memory. "
        f"{kept} is kept."
    )


def whence(running: Sequence[Progress]) -> str:
    """At which step memory ended, and from where learning goes on."""
    one = running[0]
    if len(running) > 1:
        return f"while {len(running)} were learned at once: goes on"
    back = f"back to step {one.kept + 1}, as what came after could not be kept,"
    where = "on from there" if one.kept == one.step else back
    return f"at step {one.step + 1}: goes {where}"
