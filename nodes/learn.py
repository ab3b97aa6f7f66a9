"""Learning: Learn Persona (one-shot)."""

import glob
import time
from dataclasses import replace
from pathlib import Path

import comfy.model_management
from comfy.utils import ProgressBar
from comfy_api.latest import io, ui

from ..persona_core import faces
from ..persona_core.charts import loss_chart
from ..persona_core.host.checks import check_models
from ..persona_core.host.learner import Lesson, Recipe, learn_persona
from ..persona_core.host.pictures import coarsest_cell
from ..persona_core.host.references import embed, prepare
from ..persona_core.host.telling import Clock, log, tell
from ..persona_core.learning import LearningSettings, Progress
from ..persona_core.persona import Persona
from ..persona_core.stages import Stages
from . import library, sockets
from .faces import insightface_folders

# Learned, but the disk would not take it: kept until the node runs again.
unsaved: dict[str, Persona] = {}


class LearnPersona(io.ComfyNode):
    """One photo and a frozen diffusion model to a persona."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PersonaLearn",
            display_name="Learn Persona (one-shot)",
            category=sockets.CATEGORY,
            description="Learns a person, pet or character from one photo and saves it in models/personas. The checkpoint is not changed.",
            is_output_node=True,
            inputs=[
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
                io.String.Input(
                    "supercategory",
                    default="face",
                    tooltip="The common word for what is learned: face, person, man, woman, cat, dog, toy. One word. It stands for the persona while the composition forms.",
                ),
                io.Int.Input(
                    "tokens",
                    default=4,
                    min=1,
                    max=4,
                    tooltip="How many words' worth of description is learned. 4 is best for faces; fewer leave more room for long prompts.",
                ),
                io.Int.Input(
                    "steps",
                    default=1000,
                    min=1,
                    max=20000,
                    tooltip="How long to learn. 1000 is the published recipe; a few hundred give a first look.",
                ),
                io.Float.Input(
                    "learning_rate",
                    default=1e-4,
                    min=1e-6,
                    max=0.1,
                    step=1e-6,
                    round=False,
                    tooltip="How big each step of learning is. Double it if you double the batch size. Too high: the loss jumps or stops being a number.",
                ),
                io.Int.Input(
                    "batch_size",
                    default=2,
                    min=1,
                    max=32,
                    tooltip="How many noised copies of the photo are looked at in each step. More is steadier and needs more memory.",
                ),
                io.Float.Input(
                    "te_weight",
                    default=0.001,
                    min=0.0,
                    max=1.0,
                    step=0.0001,
                    round=False,
                    tooltip="Tandem Equilibrium: keeps the persona from drowning the other words of a prompt, and from being drowned. 0 turns it off.",
                ),
                io.Int.Input(
                    "resolution",
                    default=512,
                    min=32,
                    max=2048,
                    step=8,
                    tooltip="About how many pixels a side the photo is brought to. Use what the checkpoint paints best at: 512 for SD1.5.",
                ),
                io.Boolean.Input(
                    "crop_to_face",
                    default=True,
                    tooltip="Cut a square around the face, or around the mask if there is one, so that most of the picture is the person.",
                ),
                io.Boolean.Input(
                    "mirror",
                    default=False,
                    tooltip="Also learn from the mirrored photo. Leave off for faces, which are not symmetric; useful for objects.",
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
                sockets.Stages.Input(
                    "stages",
                    optional=True,
                    tooltip="From Stage Partition from Attention or Stages. Without it, 400 to 800.",
                ),
                io.ClipVision.Input(
                    "clip_vision",
                    optional=True,
                    tooltip="An image encoder that also looks at the photo while learning. Optional; the photo is not stored.",
                ),
            ],
            outputs=[
                sockets.Persona.Output(display_name="persona", tooltip="To Apply Stage-Regulated Embedding."),
                io.Image.Output(display_name="loss", tooltip="The loss over the steps: noisy, but it should fall."),
                io.String.Output(display_name="path", tooltip="Where the persona's file lies."),
            ],
        )

    @classmethod
    def execute(
        cls, model, clip, vae, image, name, supercategory, tokens, steps, learning_rate, batch_size, te_weight,
        resolution, crop_to_face, mirror, train_seed, reuse, mask=None, stages=None, clip_vision=None,
    ) -> io.NodeOutput:  # fmt: skip
        name = library.check_name(name, folders=False)
        learning = LearningSettings(steps, learning_rate, batch_size, seed=train_seed)
        recipe = Recipe(supercategory.strip(), tokens, te_weight, resolution, mirror, stages or Stages(), learning)
        pack = faces.choose_pack(insightface_folders()) if mask is None else None
        check_models(model, clip, vae, recipe.supercategory)
        photos = prepare(image, mask, recipe, crop_to_face, coarsest_cell(model, vae), pack)
        embeddings = None if clip_vision is None else embed(clip_vision, photos)
        lesson = Lesson(name, model, clip, vae, photos, recipe, embeddings)
        fingerprint = lesson.fingerprint()
        persona, path = library.find(name, fingerprint) if reuse else (None, None)
        if persona is None:
            path = library.path_for(name)
            persona = learn_and_save(lesson, fingerprint, path)
            tell(f"Learned '{name}'; saved as {path.name}")
        else:
            tell(f"Loaded '{name}': it was learned from these inputs before.")
        chart = loss_chart(persona.losses, steps)
        return io.NodeOutput(
            persona, chart, str(path), ui={**ui.PreviewImage(chart, cls=cls).as_dict(), "text": (str(path),)}
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


NODES = [LearnPersona]
