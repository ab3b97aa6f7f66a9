"""What a MODEL of the host holds, and what is supported: said once, before anything is computed."""

from functools import cache

import torch
from comfy.ldm.cosmos.predict2 import MiniTrainDIT
from comfy.ldm.lumina.model import NextDiT
from comfy.ldm.modules.attention import SpatialTransformer
from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel
from comfy.model_base import SDXL
from comfy.model_patcher import ModelPatcher
from comfy.model_sampling import (
    CONST,
    EPS,
    V_PREDICTION,
    ModelSamplingDiscrete,
    ModelSamplingDiscreteEDM,
    ModelSamplingDiscreteFlow,
)
from comfy.sd import CLIP, VAE
from torch import Tensor

from ..noise import FlowSchedule, same_noise, usual
from ..persona import Persona
from ..recipes import Recipe
from ..stages import LAST_TIMESTEP, TIMESTEPS, Stages
from .adapter import has_adapter
from .clip import ANIMA, FAMILIES, Z_IMAGE, UnsupportedModel, encoders_in, text_towers

SD2_WIDTH = FAMILIES[("clip_h",)][1]


def check_models(model: ModelPatcher, clip: CLIP, vae: VAE, recipe: Recipe) -> None:
    """Raise UnsupportedModel or ValueError with a sentence for what is missing, out of reach or does not fit, of which
    are the recipe's words."""
    towers = text_towers(clip)
    check_supported(model)
    check_text(model, clip)
    check_vae(model, vae)
    towers.check_words(recipe)


def check_text(model: ModelPatcher, clip: CLIP) -> None:
    """Raise UnsupportedModel with a sentence for a CLIP that is missing, unknown, or of another checkpoint."""
    towers = text_towers(clip)
    if not fits(model, towers.family, towers.width):
        raise UnsupportedModel(
            f"The MODEL takes {text_of(model)}, but this CLIP is {towers.family}. Take both from one checkpoint."
        )


def check_persona(model: ModelPatcher, persona: Persona) -> None:
    """Raise ValueError with a sentence for a MODEL that takes other text than the persona was learned with,
    UnsupportedModel for one of another kind."""
    if text_width(model) is None:
        raise unknown(model)
    if not fits(model, persona.family, persona.representation.word.shape[-1]):
        raise persona.not_for(f"this MODEL takes {text_of(model)}")


def fits(model: ModelPatcher, family: str, width: int) -> bool:
    """Whether a MODEL takes text of a `clip.family`, `width` wide."""
    return width == text_width(model) and any(encoders_in(names) in family for names in kinds_of_text(model))


def kinds_of_text(model: ModelPatcher) -> list[tuple[str, ...]]:
    """The text encoders that a MODEL of its kind may go with, as in FAMILIES."""
    if is_flow(model):
        return [Z_IMAGE if attends_jointly(model) else ANIMA]
    return [names for names in FAMILIES if names not in (Z_IMAGE, ANIMA)]


def text_of(model: ModelPatcher) -> str:
    """Which text a MODEL takes, in words."""
    families = ", ".join(FAMILIES[names][0] for names in kinds_of_text(model))
    return f"text {text_width(model)} wide ({families})"


def check_layers(unet: torch.nn.Module, what: str = "Apply's mask", instead: str = "Leave the mask away") -> None:
    """Raise UnsupportedModel with a sentence for the diffusion model of a MODEL whose layers `what` does not reach:
    those of transformers, or of TensorRT, which are elsewhere."""
    if not hasattr(unet, "input_blocks"):
        raise UnsupportedModel(
            f"{what} works inside the layers of a UNet, and those of this MODEL ({type(unet).__name__}) are out of "
            f"reach. {instead}, or use the checkpoint of a UNet."
        )


def check_vae(model: ModelPatcher, vae: VAE) -> None:
    """Raise UnsupportedModel with a sentence for a VAE that is empty or makes other latents than the MODEL takes."""
    if getattr(vae, "first_stage_model", None) is None:
        raise UnsupportedModel("The VAE is empty: this checkpoint carries none. Load one with Load VAE.")
    channels = model.model.latent_format.latent_channels
    if vae.latent_channels != channels:
        raise UnsupportedModel(
            f"The VAE makes latents of {vae.latent_channels} channels, but this MODEL takes {channels}. "
            "Use the VAE of the checkpoint."
        )
    if vae.latent_dim != model.model.latent_format.latent_dimensions:
        kinds = {2: "pictures", 3: "videos"}
        raise UnsupportedModel(
            f"The VAE makes latents of {kinds.get(vae.latent_dim, 'something else')}, but this MODEL takes those of "
            f"{kinds[model.model.latent_format.latent_dimensions]}. Use the VAE of the checkpoint."
        )


def check_supported(patcher: ModelPatcher) -> None:
    """Raise UnsupportedModel with a sentence for a MODEL that personas cannot be learned with."""
    if is_flow(patcher):
        check_flow(patcher)
    else:
        check_diffusion(patcher)


def check_diffusion(patcher: ModelPatcher) -> None:
    check_unet(patcher)
    model, sampling = patcher.model, patcher.get_model_object("model_sampling")
    unet, name = model.diffusion_model, type(model.model_config).__name__
    if model.adm_channels and not isinstance(model, SDXL):
        raise UnsupportedModel(
            f"This MODEL is {name}, which is conditioned on more than text. Use an SD1.5, SD2 or SDXL base checkpoint."
        )
    latents = model.latent_format.latent_channels
    inpainting = "masked_image" in model.concat_keys and unet.in_channels == 2 * latents + 1
    if unet.in_channels != latents and not inpainting:
        raise UnsupportedModel(
            f"This MODEL takes {unet.in_channels} channels: it is an editing model. Learn with the base checkpoint."
        )
    known = predicts(sampling, EPS) or predicts(sampling, V_PREDICTION)
    if not known or not isinstance(sampling, ModelSamplingDiscrete) or len(sampling.sigmas) != TIMESTEPS:
        raise UnsupportedModel(
            "Personas are learned over 1000 timesteps with epsilon or v-prediction; this MODEL samples otherwise. "
            "Learn with the checkpoint as it is loaded, without ModelSampling nodes such as LCM."
        )


def check_flow(patcher: ModelPatcher) -> None:
    sampling, own = patcher.get_model_object("model_sampling"), patcher.model.model_config.sampling_settings
    flow = predicts(sampling, CONST) and isinstance(sampling, ModelSamplingDiscreteFlow)
    # ModelSamplingSD3 gives the transformer timesteps that are a thousand times as high as its own.
    if not flow or sampling.multiplier != own.get("multiplier", TIMESTEPS) or not sampling.shift > 0:
        raise UnsupportedModel(
            "Personas of this family are learned with flow matching; this MODEL samples otherwise. Learn with the "
            "checkpoint as it is loaded: of the ModelSampling nodes, only ModelSamplingAuraFlow is for it."
        )
    patches = patcher.model_options["transformer_options"].get("patches", {}).values()
    carried = {type(patch).__name__ for some in patches for patch in some if hasattr(patch, "models")}
    if carried:
        raise UnsupportedModel(
            f"This MODEL carries a ControlNet or the like ({', '.join(sorted(carried))}), and personas are learned "
            "without. Take the MODEL from before that node to learn with; in painting, both work together."
        )


def check_unet(patcher: ModelPatcher) -> None:
    """Raise UnsupportedModel with a sentence for a MODEL whose layers are not those of a UNet."""
    if not isinstance(patcher.model.diffusion_model, UNetModel):
        raise unknown(patcher)


def attends_jointly(patcher: ModelPatcher) -> bool:
    """Whether the text runs through the layers with the picture, so that it is not looked at across."""
    return isinstance(patcher.model.diffusion_model, NextDiT)


def attends_across(patcher: ModelPatcher) -> bool:
    """Whether it is a transformer whose picture looks across at the text, through an adapter of its own (Anima's)."""
    return isinstance(patcher.model.diffusion_model, MiniTrainDIT) and has_adapter(patcher.model.diffusion_model)


def is_flow(patcher: ModelPatcher) -> bool:
    """Whether a MODEL is of a family that matches flows."""
    return attends_jointly(patcher) or attends_across(patcher)


def check_across(patcher: ModelPatcher, what: str, instead: str) -> None:
    """Raise UnsupportedModel with a sentence where `what` needs cross-attention, and a MODEL has none."""
    if attends_jointly(patcher):
        name = type(patcher.model.model_config).__name__
        raise UnsupportedModel(
            f"{what} needs a model whose picture looks across at the text, as a UNet's; in this MODEL ({name}) both "
            f"run through the layers together. {instead}"
        )


def shift_of(patcher: ModelPatcher) -> float | None:
    """How far a flow's noise levels are shifted while a MODEL samples; None for others, which are no flows."""
    sampling = patcher.get_model_object("model_sampling")
    return float(sampling.shift) if isinstance(sampling, CONST) and sampling.shift > 0 else None


def default_stages(patcher: ModelPatcher) -> Stages:
    """The papers' stage; in a flow, where there is as much noise."""
    return same_noise(Stages(), usual(), FlowSchedule()) if is_flow(patcher) else Stages()


def unknown(patcher: ModelPatcher) -> UnsupportedModel:
    name = type(patcher.model.model_config).__name__
    return UnsupportedModel(
        f"Personas work with models of the SD1.5, SD2, SDXL, Z-Image and Anima kind; this MODEL is {name}."
    )


def predicts(sampling, kind: type) -> bool:
    """Whether a model_sampling of the host is of exactly this prediction: its kinds derive from each other."""
    return type(sampling).calculate_denoised is kind.calculate_denoised


def compute_dtype(patcher: ModelPatcher) -> torch.dtype:
    """What the host computes this MODEL in, once it is loaded."""
    return patcher.get_model_object("manual_cast_dtype") or patcher.model.get_dtype()


def best_resolution(patcher: ModelPatcher) -> int:
    """Pixels a side that checkpoints of a MODEL's family paint best at."""
    if isinstance(patcher.model, SDXL) or is_flow(patcher):
        return 1024
    velocity = predicts(patcher.get_model_object("model_sampling"), V_PREDICTION)
    return 768 if velocity and text_width(patcher) == SD2_WIDTH else 512


def text_width(patcher: ModelPatcher) -> int | None:
    """The width of the text contexts that a MODEL takes, or None where it has no such setting."""
    config = patcher.model.model_config.unet_config
    names = ["crossattn_emb_channels"] if attends_across(patcher) else ["cap_feat_dim", "context_dim"]
    width = next((config[name] for name in names if name in config), None)
    return width[0] if isinstance(width, list) else width


def cross_attention_blocks(unet: UNetModel) -> list[tuple[str, int, int]]:
    """Every cross-attention of a UNet as the host names it, ("input", 4, 0), in the order in which it runs."""
    sections = [
        ("input", list(unet.input_blocks)),
        ("middle", [unet.middle_block]),
        ("output", list(unet.output_blocks)),
    ]
    return [
        (section, number, index)
        for section, blocks in sections
        for number, block in enumerate(blocks)
        if block is not None
        for layer in block
        if isinstance(layer, SpatialTransformer)
        for index in range(len(layer.transformer_blocks))
    ]


def discrete_timestep(sampling, sigma: Tensor) -> float:
    """The timestep 0..999 of a noise level [1], as the UNet gets it.

    Continuous samplings (ModelSamplingContinuousEDM) count otherwise: for them it is the timestep that has the
    nearest noise in the usual schedule.
    """
    if isinstance(sampling, CONST):
        return min(TIMESTEPS * float(sigma), LAST_TIMESTEP)
    if isinstance(sampling, ModelSamplingDiscrete) and not isinstance(sampling, ModelSamplingDiscreteEDM):
        return float(sampling.timestep(sigma).float())
    return float((usual_log_sigmas() - sigma.log().cpu()).abs().argmin())


@cache
def usual_log_sigmas() -> Tensor:
    """[1000], of the schedule that SD1.x and SD2.x were trained with."""
    return ModelSamplingDiscrete().log_sigmas.clone()
