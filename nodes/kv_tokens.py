"""Learning of the second kind: Face-Wise K/V Tokens."""

from comfy.model_patcher import ModelPatcher
from comfy.sd import CLIP, VAE
from comfy_api.latest import io
from torch import Tensor

from ..persona_core.file_names import check_name
from ..persona_core.host.learn.run import TrainingJob
from ..persona_core.host.model import best_resolution, check_across
from ..persona_core.losses import COMPARED, REDUCTIONS
from ..persona_core.photos import augmented
from ..persona_core.recipes import DEFAULT, KV_PRESETS, STARTS, WEIGHTS, KVTokensRecipe, kv_prompts, settings_of
from . import sockets, training


class FaceWiseKVTokens(io.ComfyNode):
    """One photo and a frozen diffusion model to a persona of K and V tokens (SeFi-IDE)."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        shared = training.shared_inputs()
        schema = io.Schema(
            node_id="PersonaKVTokens",
            display_name="Face-Wise K/V Tokens",
            **sockets.also_found_as(
                "identity, likeness, face, portrait, same person, character, pet, train, textual inversion, LoRA alternative, SeFi-IDE"
            ),
            category=sockets.CATEGORY,
            description="Learns a person, pet or character as a few pairs of words, one for where attention looks and one for what it sees. A smaller file than Learn Persona's; saved in models/personas.",
            is_output_node=True,
            inputs=[
                *(shared[name] for name in ("model", "clip", "vae", "image", "name")),
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
                    tooltip="Into how many even stages sampling is cut. Each has its own pair of K and V tokens; the paper uses 5.",
                ),
                *(shared[name] for name in ("steps", "learning_rate", "batch_size")),
                io.Float.Input(
                    "attention_weight",
                    default=3e-3,
                    min=0.0,
                    max=1.0,
                    step=0.0001,
                    round=False,
                    tooltip="Face-wise attention loss: keeps every word of a prompt looking where it would look for the reference word, as the paper does to keep the prompt alive. 0 turns it off, which is faster. A mask keeps the photo's background out.",
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
                    tooltip="Learn from 32 variants of the photo, in other light and mirrored.",
                ),
                *(shared[name] for name in ("resolution", "crop_to_face")),
                io.Boolean.Input(
                    "mirror",
                    default=False,
                    tooltip="Also learn from the mirrored photo. Variants are mirrored now and then anyway.",
                ),
                *(shared[name] for name in ("train_seed", "reuse", "mask", "attention_reduction", "caption")),
                io.Combo.Input(
                    "preset",
                    options=list(KV_PRESETS),
                    default=DEFAULT,
                    optional=True,
                    tooltip="How long and how fast to learn, where steps, learning_rate and batch_size are 0. auto: as long as the photo and the checkpoint need, which is measured while learning. balanced: 400 pictures through the UNet. published: 2000.",
                ),
                *(shared[name] for name in ("minutes", "context_weight", "start", "loss_weights")),
            ],
            outputs=training.OUTPUTS,
        )
        return sockets.few_first(schema, "name", "supercategory", "preset", "caption")

    @classmethod
    def validate_inputs(
        cls,
        attention_tokens: str,
        resolution: int | None = 0,
        attention_reduction: str = REDUCTIONS[0],
        preset: str = DEFAULT,
        start: str = STARTS[0],
        loss_weights: str = WEIGHTS[0],
    ) -> bool | str:
        own = {"attention_tokens": (attention_tokens, COMPARED), "preset": (preset, KV_PRESETS)}
        return training.check_shared(resolution, attention_reduction, start, loss_weights, **own)

    @classmethod
    def execute(
        cls,
        model: ModelPatcher,
        clip: CLIP,
        vae: VAE,
        image: Tensor,
        name: str,
        supercategory: str,
        pairs: int,
        steps: int,
        learning_rate: float,
        batch_size: int,
        attention_weight: float,
        attention_tokens: str,
        reference_word: str,
        te_weight: float,
        augment: bool,
        resolution: int,
        crop_to_face: bool,
        mirror: bool,
        train_seed: int,
        reuse: bool,
        mask: Tensor | None = None,
        attention_reduction: str = REDUCTIONS[0],
        caption: str = "",
        preset: str = DEFAULT,
        minutes: float = training.MINUTES,
        context_weight: float = 0.0,
        start: str = STARTS[0],
        loss_weights: str = WEIGHTS[0],
    ) -> io.NodeOutput:
        name = check_name(name, folders=False)
        check_across(model, "Face-Wise K/V Tokens", "Use Learn Persona with it.")
        supercategory = supercategory.strip()
        recipe = KVTokensRecipe(
            supercategory=supercategory,
            te_weight=te_weight,
            resolution=resolution or best_resolution(model),
            mirror=mirror,
            learning=settings_of(preset, train_seed, steps, learning_rate, batch_size, minutes, KV_PRESETS),
            attention_weight=attention_weight,
            attention_tokens=attention_tokens,
            attention_reduction=attention_reduction,
            caption=caption.strip(),
            context_weight=context_weight,
            start=start,
            weights=loss_weights,
            reference=reference_word.strip(),
            prompts=kv_prompts(supercategory),
            pairs=pairs,
            augment=augment,
        )
        photos = training.photos_of(model, clip, vae, image, mask, recipe, crop_to_face)
        if augment:
            photos = augmented(photos, train_seed)
        return training.train(TrainingJob(name, model, clip, vae, photos, recipe), reuse, cls)


NODES = [FaceWiseKVTokens]
