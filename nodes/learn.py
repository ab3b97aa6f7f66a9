"""Learning: Learn Persona (one-shot)."""

from comfy.clip_vision import ClipVisionModel
from comfy.model_patcher import ModelPatcher
from comfy.sd import CLIP, VAE
from comfy_api.latest import io
from torch import Tensor

from ..persona_core.file_names import check_name
from ..persona_core.going_on import check_goes_on
from ..persona_core.host.clip import text_towers
from ..persona_core.host.learn.latents import embed
from ..persona_core.host.learn.run import TrainingJob
from ..persona_core.host.model import best_resolution, default_stages
from ..persona_core.losses import REDUCTIONS
from ..persona_core.persona import Persona
from ..persona_core.recipes import DEFAULT, PRESETS, STARTS, WEIGHTS, StageMapperRecipe, settings_of
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
                    default="face",
                    tooltip="The common word for what is learned: face, person, man, woman, cat, dog, toy. One word. The text encoder may split it into as many parts as tokens says. It stands for the persona while the composition forms.",
                ),
                io.Int.Input(
                    "tokens",
                    default=4,
                    min=1,
                    max=StageMapperRecipe.most_tokens,
                    tooltip="How many words' worth of description is learned. 4 is best for faces; fewer leave more room for long prompts.",
                ),
                *(shared[name] for name in ("steps", "learning_rate", "batch_size")),
                io.Float.Input(
                    "te_weight",
                    default=0.001,
                    min=0.0,
                    max=1.0,
                    step=0.0001,
                    round=False,
                    tooltip="Tandem Equilibrium: keeps the persona from drowning the other words of a prompt, and from being drowned. 0 turns it off.",
                ),
                *(shared[name] for name in ("resolution", "crop_to_face")),
                io.Boolean.Input(
                    "mirror",
                    default=False,
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
                    default=0.0,
                    min=0.0,
                    max=1.0,
                    step=0.0001,
                    round=False,
                    optional=True,
                    tooltip="Face-wise attention loss of Face-Wise K/V Tokens: keeps every word looking where it would look for the common word. 0.003 there, off here.",
                ),
                io.Combo.Input(
                    "preset",
                    options=list(PRESETS),
                    default=DEFAULT,
                    optional=True,
                    tooltip="How long and how fast to learn, where steps, learning_rate and batch_size are 0. auto: as long as the photo and the checkpoint need, which is measured while learning. quick: a first look, 60 pictures through the UNet. balanced: 200. published: the paper's 2000.",
                ),
                *(
                    shared[name]
                    for name in ("attention_reduction", "caption", "minutes", "context_weight", "start", "loss_weights")
                ),
                io.Boolean.Input(
                    "keep_mapper",
                    default=False,
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
        resolution: int | None = 0,
        preset: str = DEFAULT,
        attention_reduction: str = REDUCTIONS[0],
        start: str = STARTS[0],
        loss_weights: str = WEIGHTS[0],
    ) -> bool | str:
        return training.check_shared(resolution, attention_reduction, start, loss_weights, preset=(preset, PRESETS))

    @classmethod
    def execute(
        cls,
        model: ModelPatcher,
        clip: CLIP,
        vae: VAE,
        image: Tensor,
        name: str,
        supercategory: str,
        tokens: int,
        steps: int,
        learning_rate: float,
        batch_size: int,
        te_weight: float,
        resolution: int,
        crop_to_face: bool,
        mirror: bool,
        train_seed: int,
        reuse: bool,
        mask: Tensor | None = None,
        stages: Stages | None = None,
        clip_vision: ClipVisionModel | None = None,
        attention_weight: float = 0.0,
        preset: str = DEFAULT,
        attention_reduction: str = REDUCTIONS[0],
        caption: str = "",
        minutes: float = training.MINUTES,
        context_weight: float = 0.0,
        start: str = STARTS[0],
        loss_weights: str = WEIGHTS[0],
        keep_mapper: bool = False,
        go_on_from: Persona | None = None,
    ) -> io.NodeOutput:
        name = check_name(name, folders=False)
        recipe = StageMapperRecipe(
            supercategory=supercategory.strip(),
            tokens=tokens,
            te_weight=te_weight,
            resolution=resolution or best_resolution(model),
            mirror=mirror,
            stages=stages or default_stages(model),
            learning=settings_of(preset, train_seed, steps, learning_rate, batch_size, minutes),
            attention_weight=attention_weight,
            attention_reduction=attention_reduction,
            caption=caption.strip(),
            context_weight=context_weight,
            start=start,
            weights=loss_weights,
        )
        photos = training.photos_of(model, clip, vae, image, mask, recipe, crop_to_face)
        if go_on_from is not None:
            check_goes_on(go_on_from, text_towers(clip).family, recipe)
        embeddings = None if clip_vision is None else embed(clip_vision, photos)
        job = TrainingJob(name, model, clip, vae, photos, recipe, embeddings, keep_mapper, go_on_from)
        return training.train(job, reuse, cls)


NODES = [LearnPersona]
