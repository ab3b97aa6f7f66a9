"""A persona in use: Apply Stage-Regulated Embedding."""

from comfy.model_patcher import ModelPatcher
from comfy.sd import CLIP
from comfy_api.latest import io
from torch import Tensor

from ..persona_core.host.apply.persona import apply_persona
from ..persona_core.host.consent import consent_asked_on
from ..persona_core.persona import Persona
from ..persona_core.photos import BLACK, reduced
from ..persona_core.table import PERSONA, WORD
from . import sockets

STANDING = [WORD, PERSONA]  # what may stand at the placeholder outside the dynamic stage


def fraction(name: str, default: float, step: float, tooltip: str) -> io.Float.Input:
    """An input from 0 to 1. Optional, because workflows of the first release do not have it."""
    return io.Float.Input(name, default=default, min=0.0, max=1.0, step=step, tooltip=tooltip, optional=True)


def place_of(mask: Tensor) -> Tensor:
    """Of a MASK [M, H, W] or [H, W] of the host, one [H, W] in 0..1. Raises ValueError with a sentence."""
    masks = mask.reshape(-1, *mask.shape[-2:])
    if len(masks) != 1:
        raise ValueError(f"Apply takes one mask, but there are {len(masks)}. Give each Apply its own.")
    # A huge photo's would be kept for each Apply, and latents are never so fine.
    mask = reduced(masks[..., None].float().cpu())[0, ..., 0].clamp(0, 1)
    if mask.max() < BLACK:
        raise ValueError(
            "The mask is all black, so the persona would be nowhere: Load Image gives such a one for a picture without "
            "transparency. Paint the persona's place white, or leave the mask away."
        )
    return mask


class ApplyStageRegulatedEmbedding(io.ComfyNode):
    """MODEL and CLIP in, MODEL and CLIP that know the persona's placeholder out."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        schema = io.Schema(
            node_id="PersonaApply",
            display_name="Apply Stage-Regulated Embedding",
            **sockets.also_found_as(
                "use persona, identity, likeness, face, same person, character, textual inversion, LoRA alternative, PersonaMagic"
            ),
            category=sockets.CATEGORY,
            description="Put it where a LoRA loader would go. Then write the placeholder, such as <ann>, in any prompt. Chain several for several people.",
            inputs=[
                io.Model.Input("model", tooltip="The checkpoint, with or without LoRA."),
                io.Clip.Input(
                    "clip", tooltip="The text encoder. Encode your prompts with what comes out of this node."
                ),
                sockets.Persona.Input("persona", tooltip="From Learn Persona, Face-Wise K/V Tokens or Load Persona."),
                io.String.Input(
                    "placeholder",
                    default="",
                    placeholder="the persona's own",
                    tooltip="What you write in prompts for this persona, anywhere and as often as you like. Each persona needs its own. Empty: the one it was made for, <ann> for a persona called ann.",
                ),
                io.Float.Input(
                    "strength",
                    default=1.0,
                    min=0.0,
                    max=2.0,
                    step=0.05,
                    tooltip="1 is the persona as it was learned, 0 only its common word, above 1 exaggerates.",
                ),
                io.Combo.Input(
                    "early_stage",
                    options=STANDING,
                    default=WORD,
                    tooltip="What guides the first, noisy steps, where the composition forms: the common word (freer composition) or the persona (closer to the photo).",
                ),
                io.Combo.Input(
                    "late_stage",
                    options=STANDING,
                    default=PERSONA,
                    tooltip="What guides the last steps, where details form: the persona (best likeness) or the common word.",
                ),
                fraction(
                    "start_at",
                    0.0,
                    0.001,
                    "Where in the sampling the persona begins, from 0 (first step) to 1. Before it, the common word stands.",
                ),
                fraction(
                    "end_at", 1.0, 0.001, "Where in the sampling the persona ends. After it, the common word stands."
                ),
                fraction(
                    "key_locking",
                    0.0,
                    0.05,
                    "How far attention looks as it does for the common word, while it finds the persona there. Above 0.5 it costs likeness.",
                ),
                fraction(
                    "context_preservation",
                    0.0,
                    0.05,
                    "How far all other words mean what they mean without the persona. Try 0.5 if the prompt is not obeyed.",
                ),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="Where in the picture the persona may be, white. For several people: one Apply and one mask each. Its edges may be soft.",
                ),
            ],
            outputs=[
                io.Model.Output(display_name="model", tooltip="To the sampler."),
                io.Clip.Output(display_name="clip", tooltip="To CLIP Text Encode, for positive and negative prompts."),
            ],
        )
        return sockets.few_first(schema, "placeholder", "strength")

    @classmethod
    def validate_inputs(cls, early_stage: str, late_stage: str) -> bool | str:
        return sockets.check_choices(early_stage=(early_stage, STANDING), late_stage=(late_stage, STANDING))

    @classmethod
    def fingerprint_inputs(cls, **inputs) -> str:
        return consent_asked_on()  # a consent may end while ComfyUI keeps what came out of this node

    @classmethod
    def execute(
        cls,
        model: ModelPatcher,
        clip: CLIP,
        persona: Persona,
        placeholder: str,
        strength: float,
        early_stage: str,
        late_stage: str,
        start_at: float = 0.0,
        end_at: float = 1.0,
        key_locking: float = 0.0,
        context_preservation: float = 0.0,
        mask: Tensor | None = None,
    ) -> io.NodeOutput:
        patched = apply_persona(
            model, clip, persona, placeholder, None if mask is None else place_of(mask), strength=strength,
            early=early_stage, late=late_stage, start_at=start_at, end_at=end_at, key_locking=key_locking,
            context_preservation=context_preservation,
        )  # fmt: skip
        return io.NodeOutput(*patched)


NODES = [ApplyStageRegulatedEmbedding]
