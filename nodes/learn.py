"""Learning: Learn Persona (one-shot)."""

from comfy_api.latest import io

from ..persona_core import faces
from ..persona_core.host.checks import check_models
from ..persona_core.host.learner import Lesson, Recipe
from ..persona_core.host.pictures import coarsest_cell
from ..persona_core.host.references import embed, prepare
from ..persona_core.learning import LearningSettings
from ..persona_core.stages import Stages
from . import library, sockets, teaching
from .faces import insightface_folders


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
                io.Float.Input(
                    "attention_weight",
                    default=0.0,
                    min=0.0,
                    max=1.0,
                    step=0.0001,
                    round=False,
                    optional=True,
                    tooltip="Face-wise attention loss of Face-Wise K/V Tokens: keeps every word looking where it would look for the common word. 0.003 there, off here.",
                ),
            ],
            outputs=teaching.OUTPUTS,
        )

    @classmethod
    def execute(
        cls, model, clip, vae, image, name, supercategory, tokens, steps, learning_rate, batch_size, te_weight,
        resolution, crop_to_face, mirror, train_seed, reuse, mask=None, stages=None, clip_vision=None,
        attention_weight=0.0,
    ) -> io.NodeOutput:  # fmt: skip
        name = library.check_name(name, folders=False)
        learning = LearningSettings(steps, learning_rate, batch_size, seed=train_seed)
        recipe = Recipe(
            supercategory.strip(), tokens, te_weight, resolution, mirror, stages or Stages(), learning, attention_weight
        )
        pack = faces.choose_pack(insightface_folders()) if mask is None else None
        check_models(model, clip, vae, recipe.supercategory)
        photos = prepare(image, mask, recipe, crop_to_face, coarsest_cell(model, vae), pack)
        embeddings = None if clip_vision is None else embed(clip_vision, photos)
        lesson = Lesson(name, model, clip, vae, photos, recipe, embeddings)
        return teaching.persona_of(lesson, reuse, cls)


NODES = [LearnPersona]
