"""Learning of the second kind: Face-Wise K/V Tokens."""

from comfy.model_patcher import ModelPatcher
from comfy.sd import CLIP, VAE
from comfy_api.latest import io
from torch import Tensor

from ..persona_core.host.learn.jobs import Models, kv_tokens_job
from ..persona_core.settings import KV_TOKENS, Value
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
                    **KV_TOKENS["supercategory"].limits(),
                    tooltip="The common word for what is learned: person, man, woman, face, cat, dog, toy. One word. The tokens start as it.",
                ),
                io.Int.Input(
                    "pairs",
                    **KV_TOKENS["pairs"].limits(),
                    tooltip="Into how many even stages sampling is cut. Each has its own pair of K and V tokens; the paper uses 5.",
                ),
                *(shared[name] for name in ("steps", "learning_rate", "batch_size")),
                io.Float.Input(
                    "attention_weight",
                    **KV_TOKENS["attention_weight"].limits(),
                    tooltip="Face-wise attention loss: keeps every word of a prompt looking where it would look for the reference word, as the paper does to keep the prompt alive. 0 turns it off, which is faster. A mask keeps the photo's background out.",
                ),
                io.Combo.Input(
                    "attention_tokens",
                    **KV_TOKENS["attention_tokens"].limits(),
                    tooltip="Whose attention the loss compares. All tokens is best in the paper.",
                ),
                io.String.Input(
                    "reference_word",
                    **KV_TOKENS["reference_word"].limits(),
                    tooltip="The common word that the persona's attention is compared with: for a cat, cat. One word; empty is the supercategory.",
                ),
                io.Float.Input(
                    "te_weight",
                    **KV_TOKENS["te_weight"].limits(),
                    tooltip="Learn Persona's Tandem Equilibrium, for trials: 0.001 there, off here.",
                ),
                io.Boolean.Input(
                    "augment",
                    **KV_TOKENS["augment"].limits(),
                    tooltip="Learn from 32 variants of the photo, in other light and mirrored.",
                ),
                *(shared[name] for name in ("resolution", "crop_to_face")),
                io.Boolean.Input(
                    "mirror",
                    **KV_TOKENS["mirror"].limits(),
                    tooltip="Also learn from the mirrored photo. Variants are mirrored now and then anyway.",
                ),
                *(shared[name] for name in ("train_seed", "reuse", "mask", "attention_reduction", "caption")),
                io.Combo.Input(
                    "preset",
                    **KV_TOKENS["preset"].limits(),
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
        attention_tokens: str | None,
        resolution: int | None = None,
        attention_reduction: str | None = None,
        preset: str | None = None,
        start: str | None = None,
        loss_weights: str | None = None,
    ) -> bool | str:
        return training.check(
            KV_TOKENS,
            attention_tokens=attention_tokens,
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
        **chosen: Value,
    ) -> io.NodeOutput:
        return training.train(kv_tokens_job(Models(model, clip, vae), name, image, mask, **chosen), reuse, cls)


NODES = [FaceWiseKVTokens]
