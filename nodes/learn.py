"""Learning: Learn Persona (one-shot)."""

from comfy.clip_vision import ClipVisionModel
from comfy.model_patcher import ModelPatcher
from comfy.sd import CLIP, VAE
from comfy_api.latest import io
from torch import Tensor

from ..persona_core.host.learn.jobs import Models, learn_persona_job
from ..persona_core.persona import Persona
from ..persona_core.settings import LEARN_PERSONA, Value
from ..persona_core.stages import Stages
from . import sockets, training


class LearnPersona(io.ComfyNode):
    """One photo and a frozen diffusion model to a persona."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        shared = training.shared_inputs()
        schema = io.Schema(
            node_id="PersonaLearn",
            display_name="Learn Persona (one-shot)",
            **sockets.also_found_as(
                "identity, likeness, face, portrait, same person, character, pet, train, textual inversion, LoRA alternative, PersonaMagic"
            ),
            category=sockets.CATEGORY,
            description="Learns a person, pet or character from one photo and saves it in models/personas. The checkpoint is not changed.",
            is_output_node=True,
            inputs=[
                *(shared[name] for name in ("model", "clip", "vae", "image", "name")),
                io.String.Input(
                    "supercategory",
                    **LEARN_PERSONA["supercategory"].limits(),
                    tooltip="The common word for what is learned: face, person, man, woman, cat, dog, toy. One word. The text encoder may split it into as many parts as tokens says. It stands for the persona while the composition forms.",
                ),
                io.Int.Input(
                    "tokens",
                    **LEARN_PERSONA["tokens"].limits(),
                    tooltip="How many words' worth of description is learned. 4 is best for faces; fewer leave more room for long prompts.",
                ),
                *(shared[name] for name in ("steps", "learning_rate", "batch_size")),
                io.Float.Input(
                    "te_weight",
                    **LEARN_PERSONA["te_weight"].limits(),
                    tooltip="Tandem Equilibrium: keeps the persona from drowning the other words of a prompt, and from being drowned. 0 turns it off.",
                ),
                *(shared[name] for name in ("resolution", "crop_to_face")),
                io.Boolean.Input(
                    "mirror",
                    **LEARN_PERSONA["mirror"].limits(),
                    tooltip="Also learn from the mirrored photo. Leave off for faces, which are not symmetric; useful for objects.",
                ),
                *(shared[name] for name in ("train_seed", "reuse", "mask")),
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
                    **LEARN_PERSONA["attention_weight"].limits(),
                    optional=True,
                    tooltip="Face-wise attention loss of Face-Wise K/V Tokens: keeps every word looking where it would look for the common word. 0.003 there, off here.",
                ),
                io.Combo.Input(
                    "preset",
                    **LEARN_PERSONA["preset"].limits(),
                    optional=True,
                    tooltip="How long and how fast to learn, where steps, learning_rate and batch_size are 0. auto: as long as the photo and the checkpoint need, which is measured while learning. quick: a first look, 60 pictures through the UNet. balanced: 200. published: the paper's 2000.",
                ),
                *(
                    shared[name]
                    for name in ("attention_reduction", "caption", "minutes", "context_weight", "start", "loss_weights")
                ),
                io.Boolean.Input(
                    "keep_mapper",
                    **LEARN_PERSONA["keep_mapper"].limits(),
                    optional=True,
                    tooltip="Keep all that was learned in the file, so that learning can go on from it later. It paints the same; the file is some thirty times as large.",
                ),
                sockets.Persona.Input(
                    "go_on_from",
                    optional=True,
                    tooltip="A persona that was learned with keep_mapper: learning begins at what it is, instead of at the common word. Same checkpoint family, supercategory, tokens and stages.",
                ),
            ],
            outputs=training.OUTPUTS,
        )
        return sockets.few_first(schema, "name", "supercategory", "preset", "caption")

    @classmethod
    def validate_inputs(
        cls,
        resolution: int | None = None,
        preset: str | None = None,
        attention_reduction: str | None = None,
        start: str | None = None,
        loss_weights: str | None = None,
    ) -> bool | str:
        return training.check(
            LEARN_PERSONA,
            preset=preset,
            attention_reduction=attention_reduction,
            start=start,
            loss_weights=loss_weights,
            resolution=resolution,
        )

    @classmethod
    def execute(
        cls,
        model: ModelPatcher,
        clip: CLIP,
        vae: VAE,
        image: Tensor,
        name: str,
        reuse: bool,
        mask: Tensor | None = None,
        stages: Stages | None = None,
        clip_vision: ClipVisionModel | None = None,
        go_on_from: Persona | None = None,
        **chosen: Value,
    ) -> io.NodeOutput:
        models = Models(model, clip, vae, clip_vision)
        job = learn_persona_job(models, name, image, mask, stages, go_on_from, **chosen)
        return training.train(job, reuse, cls)


NODES = [LearnPersona]
