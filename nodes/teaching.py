"""What both learning nodes do: learn or find what was learned, save it, tell how far it is."""

import glob
import time
from dataclasses import replace
from pathlib import Path

import comfy.model_management
from comfy.utils import ProgressBar
from comfy_api.latest import io, ui

from ..persona_core.charts import loss_chart
from ..persona_core.host import store
from ..persona_core.host.learn.run import TrainingJob, train_persona
from ..persona_core.host.messages import Clock, log, tell, warn
from ..persona_core.persona import Persona
from ..persona_core.training import Progress
from . import notices, sockets

# Learned, but the disk would not take it: kept until a node of the same inputs runs again.
unsaved: dict[str, Persona] = {}

OUTPUTS = [
    sockets.Persona.Output(display_name="persona", tooltip="To Apply Stage-Regulated Embedding."),
    io.Image.Output(display_name="loss", tooltip="The loss over the steps: noisy, but it should fall."),
    io.String.Output(display_name="path", tooltip="Where the persona's file lies."),
]


def shared_inputs() -> dict[str, io.Input]:
    """The inputs that both learning nodes have, by name."""
    inputs = [
        io.Model.Input(
            "model",
            tooltip="The checkpoint to learn with. A persona works best with the checkpoint it was learned with, and with its relatives.",
        ),
        io.Clip.Input("clip", tooltip="The text encoder of the same checkpoint."),
        io.Vae.Input("vae", tooltip="The VAE of the same checkpoint."),
        io.Image.Input(
            "image",
            tooltip="One clear photo. Several photos of the same person as one batch are used by turns.",
        ),
        io.String.Input(
            "name",
            default="my_persona",
            tooltip="The persona's name. The file is saved as models/personas/NAME.safetensors.",
        ),
        io.Int.Input(
            "steps",
            default=1000,
            min=1,
            max=20000,
            tooltip="How long to learn. 1000 is the published recipe; a few hundred give a first look.",
        ),
        io.Int.Input(
            "batch_size",
            default=2,
            min=1,
            max=32,
            tooltip="How many noised copies of the photo are looked at in each step. More is steadier and needs more memory.",
        ),
        io.Int.Input(
            "resolution",
            default=512,
            min=32,
            max=2048,
            step=8,
            tooltip="About how many pixels a side the photo is brought to. Use what the checkpoint paints best at: 512 for SD1.5, 768 for SD2.1, 1024 for SDXL.",
        ),
        io.Boolean.Input(
            "crop_to_face",
            default=True,
            tooltip="Cut a square around the face, or around the mask if there is one, so that most of the picture is the person.",
        ),
        io.Int.Input(
            "train_seed",
            default=0,
            min=0,
            max=2**32 - 1,
            control_after_generate=False,
            tooltip="The same seed and inputs give the same persona. Try another if the likeness is poor.",
        ),
        io.Boolean.Input(
            "reuse",
            default=True,
            tooltip="If this persona was already learned from exactly these inputs, load it instead of learning again. Keep on when you queue many prompts.",
        ),
        io.Mask.Input(
            "mask",
            optional=True,
            tooltip="White where the person is. Without it, Face Mask's detection is used for faces, and the whole picture for anything else.",
        ),
    ]
    return {one.id: one for one in inputs}


def persona_of(lesson: TrainingJob, reuse: bool, node: type[io.ComfyNode]) -> io.NodeOutput:
    """The OUTPUTS of a learning node: the persona as it was learned before, or now."""
    fingerprint = lesson.fingerprint()
    persona, path = store.find(lesson.name, fingerprint) if reuse else (None, None)
    if persona is None:
        path = store.path_for(lesson.name)
        persona, said = learn_and_save(lesson, fingerprint, path)
    else:
        said = f"Loaded '{lesson.name}': it was learned from these inputs before."
    chart = loss_chart(persona.losses, lesson.recipe.learning.steps)
    shown = {**ui.PreviewImage(chart, cls=node).as_dict(), "text": (str(path),), **notices.line(said)}
    return io.NodeOutput(persona, chart, str(path), ui=shown)


def learn_and_save(lesson: TrainingJob, fingerprint: str, path: Path) -> tuple[Persona, str]:
    """Learn, or take what an earlier run learned but could not save, and save it. Also what to say of it."""
    store.check_writable(lesson.name, path)
    unfinished = path.with_name(f".{lesson.name}-{fingerprint[:12]}.partial")
    persona, trouble = unsaved.pop(fingerprint, None), ""
    if persona is None:
        reporter = Reporter(lesson)
        persona = train_persona(lesson, fingerprint, unfinished, reporter, reporter.warn)
        trouble = reporter.trouble
    try:
        persona = store.save(replace(persona, name=lesson.name), path)
    except OSError:
        unsaved[fingerprint] = persona
        raise
    for partial in path.parent.glob(f".{glob.escape(lesson.name)}-*.partial"):
        partial.unlink(missing_ok=True)  # another ComfyUI may have been first
    return persona, f"Learned '{lesson.name}'; saved as {path.name}{trouble}"


class Reporter:
    """Tells the artist what is about to happen, then how far it is, and lets Interrupt stop between steps.

    trouble: what every later line ends with, because a node shows only the last one.
    """

    def __init__(self, lesson: TrainingJob):
        self.trouble = ""
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
            tell(f"step {done}/{self.total}, loss {losses}, {self.clock.left(done) or 'measuring'}{self.trouble}")
        comfy.model_management.throw_exception_if_processing_interrupted()

    def warn(self, trouble: str) -> None:
        """Of what learning does otherwise than it began."""
        warn(trouble)
        self.trouble = f". {trouble}"
