"""Learning in the memory there is, whatever was thought before of how much that would be."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import comfy.model_management
from comfy.model_patcher import ModelPatcher

from ...progress import Progress
from ...training import Learning, train_together
from ..messages import log, warn
from .denoiser import PIXELS
from .memory import fit_into_memory, gradient_checkpointing, layers_to_checkpoint, out_of_memory, smallest
from .offload import outside, placed

GIGABYTE = 2**30


class TooLittleMemory(MemoryError):
    """Learning does not fit in any way."""


@dataclass(eq=False)
class Lesson:
    """One persona to be learned. make: its learning, when it is its turn; raises ValueError where there is none."""

    make: Callable[[], Learning]
    learning: Learning | None = None

    def begin(self) -> Learning:
        self.learning = self.learning or self.make()
        return self.learning


OnDone = Callable[[Lesson, Exception | None], None]


class Lessons:
    """Those that are not over. on_done: is told when one is, and why it was not learned; what it raises is no trouble
    of learning's."""

    def __init__(self, lessons: Sequence[Lesson], on_done: OnDone):
        self.left, self.on_done, self.raised = list(lessons), on_done, []

    def begun(self) -> Iterator[Learning]:
        """Each in its turn."""
        for lesson in list(self.left):
            try:
                learning = lesson.begin()
            except ValueError as error:
                self.over(lesson, error)
            else:
                yield learning

    def over(self, lesson: Lesson, error: Exception | None) -> None:
        try:
            self.on_done(lesson, error)
        except BaseException as raised:
            self.raised.append(raised)
            raise
        self.left.remove(lesson)
        lesson.learning = None  # and with it all that it needed

    def of(self, learning: Learning) -> Lesson:
        return next(lesson for lesson in self.left if lesson.learning is learning)

    @property
    def running(self) -> list[Learning]:
        return [lesson.learning for lesson in self.left if lesson.learning]

    def again(self) -> None:
        """Those that run, from where each was kept."""
        for lesson in self.left:
            lesson.learning = lesson.learning and lesson.learning.again()


def train_in_memory(
    lessons: Sequence[Lesson],
    patchers: Sequence[ModelPatcher],
    at_once: int = 1,
    on_done: OnDone = lambda lesson, error: None,
    on_trouble: Callable[[str], None] = warn,
    off: Sequence[ModelPatcher] = (),
    last: bool = True,
) -> None:
    """`train_together` in the memory there is; and if that was misjudged, say so and go on with less: one person in a
    pass, then what needs least.

    lessons: alike in what they need, the largest first, through the same models. on_done: see Lessons. patchers: of the
    models. off: those that stay off the device. Raises TooLittleMemory, and NoRoom unless this is the last way.
    """
    there = Lessons(lessons, on_done)
    if (largest := next(there.begun(), None)) is None:
        return
    task, at_once = largest.task, min(at_once, len(there.left))
    denoiser, rows = task.denoiser, task.settings.batch_size
    layers = layers_to_checkpoint(denoiser.diffusion_model, denoiser.device)
    whole = denoiser.patcher not in off
    first, room = fit_into_memory(task, patchers, off, last, at_once)
    one_each = replace(first, micro_batch=min(first.micro_batch, rows))
    for fitted in dict.fromkeys((first, one_each, smallest(layers, () if whole else layers))):
        how = (
            f"{fitted.micro_batch} of {rows * at_once} pictures at once, {len(fitted.checkpointed)} of {len(layers)} "
            "layers computed twice"
        )
        if off:
            text = ", the text encoder" if any(patcher is not denoiser.patcher for patcher in off) else ""
            how += f"; off the device but for their turns{text}, {len(fitted.lent)} of {len(layers)} layers"
        log.info("Learning in %s and %.1f GB: %s", denoiser.dtype, room / GIGABYTE, how)
        if fitted != first:
            on_trouble(f"Out of memory {whence([one.progress for one in there.running])} with {how}.")
            there.again()
        resident = () if whole else outside(denoiser.patcher.model, fitted.lent)
        try:
            with placed(resident, denoiser.device), gradient_checkpointing(fitted.checkpointed):
                for done in train_together(there.begun(), at_once, fitted.micro_batch):
                    there.over(there.of(done), done.error)
            return
        except Exception as error:
            if error in there.raised or not out_of_memory(error):
                raise
        # Here, where the error is gone, which held on to all that was computed.
        comfy.model_management.soft_empty_cache()
    kept = max(one.progress.kept for one in there.running)
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
