"""What both learning nodes do: learn or find what was learned, save it, tell how far it is."""

import glob
import time
from dataclasses import replace
from pathlib import Path

import comfy.model_management
from comfy.utils import ProgressBar
from comfy_api.latest import io, ui

from ..persona_core.charts import loss_chart
from ..persona_core.host.learner import Lesson, learn_persona
from ..persona_core.host.telling import Clock, log, tell
from ..persona_core.learning import Progress
from ..persona_core.persona import Persona
from . import library, sockets

# Learned, but the disk would not take it: kept until a node of the same inputs runs again.
unsaved: dict[str, Persona] = {}

OUTPUTS = [
    sockets.Persona.Output(display_name="persona", tooltip="To Apply Stage-Regulated Embedding."),
    io.Image.Output(display_name="loss", tooltip="The loss over the steps: noisy, but it should fall."),
    io.String.Output(display_name="path", tooltip="Where the persona's file lies."),
]


def persona_of(lesson: Lesson, reuse: bool, node: type[io.ComfyNode]) -> io.NodeOutput:
    """The OUTPUTS of a learning node: the persona as it was learned before, or now."""
    fingerprint = lesson.fingerprint()
    persona, path = library.find(lesson.name, fingerprint) if reuse else (None, None)
    if persona is None:
        path = library.path_for(lesson.name)
        persona = learn_and_save(lesson, fingerprint, path)
        tell(f"Learned '{lesson.name}'; saved as {path.name}")
    else:
        tell(f"Loaded '{lesson.name}': it was learned from these inputs before.")
    chart = loss_chart(persona.losses, lesson.recipe.learning.steps)
    return io.NodeOutput(
        persona, chart, str(path), ui={**ui.PreviewImage(chart, cls=node).as_dict(), "text": (str(path),)}
    )


def learn_and_save(lesson: Lesson, fingerprint: str, path: Path) -> Persona:
    """Learn, or take what an earlier run learned but could not save, and save it."""
    library.check_writable(lesson.name, path)
    unfinished = path.with_name(f".{lesson.name}-{fingerprint[:12]}.partial")
    persona = unsaved.pop(fingerprint, None) or learn_persona(lesson, fingerprint, unfinished, Reporter(lesson))
    try:
        persona = library.save(replace(persona, name=lesson.name), path)
    except OSError:
        unsaved[fingerprint] = persona
        raise
    for partial in path.parent.glob(f".{glob.escape(lesson.name)}-*.partial"):
        partial.unlink()
    return persona


class Reporter:
    """Tells the artist what is about to happen, then how far it is, and lets Interrupt stop between steps."""

    def __init__(self, lesson: Lesson):
        self.total = lesson.recipe.learning.steps
        self.bar, self.clock, self.spoken = ProgressBar(self.total), None, 0.0
        height, width = lesson.photos[0].image.shape[:2]
        count, batch = len(lesson.photos), lesson.recipe.learning.batch_size
        pictures = f"{count} picture{'s' * (count != 1)}"
        line = (
            f"Learning '{lesson.name}': {self.total} steps of {batch}, {width}x{height}, {pictures}; time left follows"
        )
        log.info(line)
        tell(line)

    def __call__(self, progress: Progress) -> None:
        done, now = progress.step, time.monotonic()
        self.clock = self.clock or Clock(self.total, done)
        self.bar.update_absolute(done, self.total)
        if now - self.spoken > 0.5 or done == self.total:
            self.spoken = now
            losses = ", ".join(f"{name} {values[-1]:.4f}" for name, values in progress.losses.items())
            tell(f"step {done}/{self.total}, loss {losses}, {self.clock.left(done) or 'measuring'}")
        comfy.model_management.throw_exception_if_processing_interrupted()
