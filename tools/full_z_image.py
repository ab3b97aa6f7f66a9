"""Z-Image in its full shapes, with random weights that all layers share: so they take a tenth of the
memory, and compute what the real ones do."""

import re

import comfy.model_management
import comfy.sd
import comfy.supported_models
import comfy.supported_models_base
import torch
from comfy.model_patcher import ModelPatcher
from comfy.text_encoders.z_image import ZImageTEModel, ZImageTokenizer
from torch import nn

# As the host detects them in the checkpoint.
TRANSFORMER = dict(
    image_model="lumina2", patch_size=2, in_channels=16, dim=3840, cap_feat_dim=2560, n_layers=30, qk_norm=True,
    n_heads=30, n_kv_heads=30, axes_dims=[32, 48, 48], axes_lens=[1536, 512, 512], rope_theta=256.0,
    ffn_dim_multiplier=8.0 / 3.0, z_image_modulation=True, time_scale=1000.0, pad_tokens_multiple=32,
)  # fmt: skip


def share(module: nn.Module, dtype: torch.dtype) -> None:
    """Give every weight on the meta device numbers, those of a layer to all others of its kind."""
    generator, known = torch.Generator().manual_seed(0), {}
    for name, weight in list(module.named_parameters()):
        place = re.sub(r"(layers|refiner)\.\d+\.", r"\1.*.", name)
        if place not in known:
            fan = weight.shape[-1] if weight.ndim >= 2 and "embed_tokens" not in name else 2500
            numbers = torch.randn(weight.shape, generator=generator) / fan**0.5
            known[place] = nn.Parameter((numbers if weight.ndim >= 2 else 1 + numbers).to(dtype), requires_grad=False)
        owner, _, last = name.rpartition(".")
        setattr(module.get_submodule(owner), last, known[place])


def model(dtype: torch.dtype, cast: torch.dtype | None = None) -> ModelPatcher:
    """6 billion weights, of which 0.5 are different. cast: what it computes in, if not in that of its weights."""
    config = comfy.supported_models.ZImage(dict(TRANSFORMER))
    config.set_inference_dtype(dtype, cast)
    base = config.get_model({}, "", device=torch.device("meta"))
    share(base.diffusion_model, dtype)
    device = torch.device("cpu")
    return ModelPatcher(base, comfy.model_management.get_torch_device(), device)


def clip(dtype: torch.dtype) -> comfy.sd.CLIP:
    """Qwen3's 4 billion, of which 0.5 are different: most of them are words."""
    target = comfy.supported_models_base.ClipTarget(ZImageTokenizer, ZImageTEModel)
    made = comfy.sd.CLIP(target, model_options={"dtype": dtype, "initial_device": torch.device("meta")})
    share(made.cond_stage_model, dtype)
    return made
