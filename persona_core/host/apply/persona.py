"""A persona put into a MODEL and a CLIP: what Apply Stage-Regulated Embedding and the command do."""

from typing import Any

from comfy.model_patcher import ModelPatcher
from comfy.sd import CLIP
from torch import Tensor

from ...persona import Persona
from ...table import AppliedPersona
from ..compat import lends_weights
from ..consent import check_consent
from ..model import check_across, check_layers, check_persona, shift_of
from .encoding import apply_to_clip
from .sampling import apply_to_model


def apply_persona(
    model: ModelPatcher, clip: CLIP, persona: Persona, placeholder: str = "", mask: Tensor | None = None, **sliders: Any
) -> tuple[ModelPatcher, CLIP]:
    """Clones that know the placeholder; "": the persona's own. sliders: those of `AppliedPersona`. Raises ValueError
    and UnsupportedModel with a sentence."""
    check_consent(persona)
    placeholder = placeholder if placeholder.strip() else persona.placeholder
    applied = AppliedPersona(persona, mask=mask, shift=shift_of(model), **sliders)
    # A host that lends weights paints a conditioning with hooks on a second copy of the MODEL, read from disk.
    clip = apply_to_clip(clip, applied, placeholder, hooked=not lends_weights(model))
    check_persona(model, persona)
    if mask is not None:
        check_across(model, "Apply's mask", "Leave it away.")
        check_layers(model.model.diffusion_model)
    if applied.key_locking:
        check_across(model, "key_locking", "Set it to 0.")
    return apply_to_model(model, placeholder), clip
