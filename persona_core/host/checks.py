"""Whether MODEL, CLIP and VAE can be learned with, said before anything is computed."""

from ..persona import Persona
from .clip import UnsupportedModel, text_towers
from .denoiser import check_supported, text_width


def check_models(model, clip, vae, supercategory: str, reference: str = "") -> None:
    """Raise UnsupportedModel or ValueError with a sentence for what is missing, out of reach or does not fit.

    reference: the word of the face-wise attention loss, if it has one of its own.
    """
    towers = text_towers(clip)
    check_supported(model)
    check_text(model, clip)
    check_vae(model, vae)
    towers.word(supercategory)
    if reference:
        towers.word(reference, "reference word")


def check_text(model, clip) -> None:
    """Raise UnsupportedModel with a sentence for a CLIP that is missing, unknown, or of another checkpoint."""
    towers, width = text_towers(clip), text_width(model)
    if width != towers.width:
        raise UnsupportedModel(
            f"The MODEL takes text {width} wide, but this CLIP is {towers.family}. Take both from one checkpoint."
        )


def check_persona(model, persona: Persona) -> None:
    """Raise ValueError with a sentence for a MODEL that takes other text than the persona was learned with."""
    width = text_width(model)
    if width not in (None, len(persona.representation.word)):
        raise persona.not_for(f"this MODEL takes text {width} wide")


def check_vae(model, vae) -> None:
    """Raise UnsupportedModel with a sentence for a VAE that is empty or makes other latents than the MODEL takes."""
    if getattr(vae, "first_stage_model", None) is None:
        raise UnsupportedModel("The VAE is empty: this checkpoint carries none. Load one with Load VAE.")
    channels = model.model.latent_format.latent_channels
    if vae.latent_channels != channels:
        raise UnsupportedModel(
            f"The VAE makes latents of {vae.latent_channels} channels, but this MODEL takes {channels}. "
            "Use the VAE of the checkpoint."
        )
