"""Learning of the second kind: Face-Wise K/V Tokens."""

from comfy_api.latest import io

from ..persona_core import faces
from ..persona_core.host.augmentation import augmented
from ..persona_core.host.checks import check_models
from ..persona_core.host.learner import KVRecipe, Lesson
from ..persona_core.host.pictures import coarsest_cell
from ..persona_core.host.references import prepare
from ..persona_core.learning import LearningSettings
from ..persona_core.losses import COMPARED
from ..persona_core.prompts import FACE_PROMPTS, PHOTO_PROMPTS
from . import library, sockets, teaching
from .faces import insightface_folders


class FaceWiseKVTokens(io.ComfyNode):
    """One photo and a frozen diffusion model to a persona of K and V tokens (SeFi-IDE)."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PersonaKVTokens",
            display_name="Face-Wise K/V Tokens",
            category=sockets.CATEGORY,
            description="Learns a person, pet or character as a few pairs of words, one for where attention looks and one for what it sees. A smaller file than Learn Persona's; saved in models/personas.",
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
                    default="person",
                    tooltip="The common word for what is learned: person, man, woman, face, cat, dog, toy. One word. The tokens start as it.",
                ),
                io.Int.Input(
                    "pairs",
                    default=5,
                    min=1,
                    max=10,
                    tooltip="Into how many even stages sampling is cut. Each has its own pair of K and V tokens; 5 is best in the paper.",
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
                    default=5e-3,
                    min=1e-6,
                    max=0.1,
                    step=1e-6,
                    round=False,
                    tooltip="How big each step of learning is. Too high: the loss jumps or stops being a number.",
                ),
                io.Int.Input(
                    "batch_size",
                    default=2,
                    min=1,
                    max=32,
                    tooltip="How many noised copies of the photo are looked at in each step. More is steadier and needs more memory.",
                ),
                io.Float.Input(
                    "attention_weight",
                    default=3e-3,
                    min=0.0,
                    max=1.0,
                    step=0.0001,
                    round=False,
                    tooltip="Face-wise attention loss: keeps every word of a prompt looking where it would look for the reference word, so that the photo's background is not learned. Too much, and the likeness suffers. 0 turns it off.",
                ),
                io.Combo.Input(
                    "attention_tokens",
                    options=list(COMPARED),
                    default=COMPARED[0],
                    tooltip="Whose attention the loss compares. All tokens is best in the paper.",
                ),
                io.String.Input(
                    "reference_word",
                    default="person",
                    tooltip="The common word that the persona's attention is compared with: for a cat, cat. One word; empty is the supercategory.",
                ),
                io.Float.Input(
                    "te_weight",
                    default=0.0,
                    min=0.0,
                    max=1.0,
                    step=0.0001,
                    round=False,
                    tooltip="Learn Persona's Tandem Equilibrium, for trials: 0.001 there, off here.",
                ),
                io.Boolean.Input(
                    "augment",
                    default=True,
                    tooltip="Learn from 32 variants of the photo in other light, mirrored and smaller. What lies around a smaller one is not learned.",
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
                    tooltip="Also learn from the mirrored photo. Variants are mirrored now and then anyway.",
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
            ],
            outputs=teaching.OUTPUTS,
        )

    @classmethod
    def execute(
        cls, model, clip, vae, image, name, supercategory, pairs, steps, learning_rate, batch_size, attention_weight,
        attention_tokens, reference_word, te_weight, augment, resolution, crop_to_face, mirror, train_seed, reuse,
        mask=None,
    ) -> io.NodeOutput:  # fmt: skip
        name = library.check_name(name, folders=False)
        supercategory = supercategory.strip()
        recipe = KVRecipe(
            supercategory=supercategory,
            te_weight=te_weight,
            resolution=resolution,
            mirror=mirror,
            learning=LearningSettings(steps, learning_rate, batch_size, weight_decay=0.0, seed=train_seed),
            attention_weight=attention_weight,
            attention_tokens=attention_tokens,
            reference=reference_word.strip(),
            prompts=FACE_PROMPTS if supercategory.lower() in faces.FACE_WORDS else PHOTO_PROMPTS,
            pairs=pairs,
        )
        pack = faces.choose_pack(insightface_folders()) if mask is None else None
        check_models(model, clip, vae, supercategory, recipe.reference if attention_weight else "")
        photos = prepare(image, mask, recipe, crop_to_face, coarsest_cell(model, vae), pack)
        if augment:
            photos = augmented(photos, train_seed)
        return teaching.persona_of(Lesson(name, model, clip, vae, photos, recipe), reuse, cls)


NODES = [FaceWiseKVTokens]
