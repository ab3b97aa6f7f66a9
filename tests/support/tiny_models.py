"""Tiny MODEL, CLIP and VAE of the host's own classes with seeded random weights: a test run takes a moment."""

import json
import math
from contextlib import suppress
from functools import cache, partial

import comfy.latent_formats
import comfy.model_management
import comfy.sd
import comfy.supported_models
import comfy.supported_models_base
import torch
from comfy.clip_vision import ClipVisionModel
from comfy.ldm.cosmos.predict2 import MiniTrainDIT
from comfy.ldm.flux.model import FluxParams
from comfy.ldm.models.autoencoder import AutoencoderKL
from comfy.ldm.wan.vae import WanVAE
from comfy.model_base import BaseModel, ModelType
from comfy.model_patcher import ModelPatcher
from comfy.sd1_clip import SD1ClipModel, SD1Tokenizer
from comfy.sdxl_clip import SDXLClipModel, SDXLRefinerClipModel, SDXLTokenizer
from comfy.text_encoders.sd2_clip import SD2ClipModel, SD2Tokenizer
from comfy.text_encoders.z_image import ZImageTEModel, ZImageTokenizer

from persona_core.host.clip import text_towers
from persona_core.mapper import StageMapper
from persona_core.persona import Persona
from persona_core.stages import Stages

TEXT = dict(hidden_size=64, num_hidden_layers=3, num_attention_heads=4, intermediate_size=128, projection_dim=64)
TEXT_G = dict(TEXT, hidden_size=128, intermediate_size=256)
QWEN = dict(
    hidden_size=64, num_hidden_layers=4, num_attention_heads=2, num_key_value_heads=1, intermediate_size=128,
    vocab_size=151936,
)  # fmt: skip
VAE = dict(
    double_z=True, z_channels=4, resolution=64, in_channels=3, out_ch=3, ch=32, ch_mult=[1, 1, 1, 1], num_res_blocks=1,
    attn_resolutions=[], dropout=0.0,
)  # fmt: skip
VISION = dict(
    model_type="clip_vision_model", image_size=32, patch_size=16, hidden_size=32, num_hidden_layers=2,
    num_attention_heads=2, intermediate_size=64, projection_dim=16, num_channels=3, hidden_act="quick_gelu",
)  # fmt: skip


def fill(module: torch.nn.Module, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if parameter.ndim >= 2:
                scale = (
                    0.02 if "token_embedding" in name or "embed_tokens" in name else 1 / math.sqrt(parameter[0].numel())
                )
                parameter.copy_(scale * torch.randn(parameter.shape, generator=generator))
            else:
                parameter.fill_(1.0 if name.endswith("weight") else 0.0)


def model(
    velocity: bool = False, dtype=torch.float32, cast=None, in_channels: int = 4, adm: int | None = None, sdxl=False
) -> ModelPatcher:
    """A UNet of the SD1.5 kind: 32 channels, three levels, text 64 wide; or of SDXL's, text 64 + 128 wide."""
    unet = dict(
        image_size=32, in_channels=in_channels, out_channels=4, model_channels=32, num_res_blocks=[1, 1, 1],
        channel_mult=[1, 1, 2],
        transformer_depth=[1, 1, 1], transformer_depth_output=[1] * 6, transformer_depth_middle=1,
        context_dim=TEXT["hidden_size"] + sdxl * TEXT_G["hidden_size"],
        use_spatial_transformer=True, use_checkpoint=False, legacy=False, use_linear_in_transformer=sdxl,
        adm_in_channels=adm or (TEXT_G["hidden_size"] + 6 * 256 if sdxl else None), use_temporal_attention=False,
        use_temporal_resblock=False,
    )  # fmt: skip
    if unet["adm_in_channels"]:
        unet["num_classes"] = "sequential"
    config = (comfy.supported_models.SDXL if sdxl else comfy.supported_models.SD15)(unet)
    config.unet_config["num_heads"], config.unet_config["num_head_channels"] = 4, -1  # the constructor forces 8 heads
    config.set_inference_dtype(dtype, cast)
    if velocity:
        config.model_type = lambda *_: comfy.supported_models.model_base.ModelType.V_PREDICTION
    base = config.get_model({}, "", device=torch.device("cpu"))
    return patched(base)


def flux() -> ModelPatcher:
    """A MODEL of another kind: Flux, small."""
    settings = dict(
        image_model="flux", in_channels=16, out_channels=16, vec_in_dim=32, context_in_dim=64, hidden_size=64,
        mlp_ratio=2.0, num_heads=2, depth=1, depth_single_blocks=1, axes_dim=[4, 14, 14], theta=10000, patch_size=2,
        qkv_bias=True, guidance_embed=True,
    )  # fmt: skip
    if "txt_ids_dims" in FluxParams.__dataclass_fields__:  # newer hosts'
        settings["txt_ids_dims"] = []
    config = comfy.supported_models.Flux(settings)
    config.set_inference_dtype(torch.float32, None)
    device = torch.device("cpu")
    return ModelPatcher(config.get_model({}, "", device=device), device, device)


def z_image(dtype=torch.float32, cast=None) -> ModelPatcher:
    """A MODEL of Z-Image's kind, small: text and picture run through its layers together."""
    settings = dict(
        image_model="lumina2", patch_size=2, in_channels=4, dim=256, n_layers=2, n_refiner_layers=1, n_heads=4,
        n_kv_heads=4, axes_dims=[16, 24, 24], axes_lens=[1536, 512, 512], rope_theta=256.0, ffn_dim_multiplier=1.0,
        qk_norm=True, cap_feat_dim=QWEN["hidden_size"], z_image_modulation=True, time_scale=1000.0,
        pad_tokens_multiple=32,
    )  # fmt: skip
    config = comfy.supported_models.ZImage(settings)
    config.latent_format = comfy.latent_formats.SD15()
    config.set_inference_dtype(dtype, cast)
    base = config.get_model({}, "", device=torch.device("cpu"))
    return patched(base)


CROSS = dict(
    max_img_h=64, max_img_w=64, max_frames=8, in_channels=4, out_channels=4, patch_spatial=2, patch_temporal=1,
    concat_padding_mask=True, model_channels=64, num_blocks=4, num_heads=2, mlp_ratio=2.0,
    crossattn_emb_channels=QWEN["hidden_size"], pos_emb_cls="rope3d", pos_emb_learnable=True, use_adaln_lora=True,
    adaln_lora_dim=16, extra_per_block_abs_pos_emb=False,
)  # fmt: skip


def cross_transformer(dtype=torch.float32) -> ModelPatcher:
    """A MODEL of Anima's kind, small, without what Anima has in front of it: what every host has of it."""
    config = comfy.supported_models.CosmosT2IPredict2({"image_model": "cosmos_predict2", **CROSS})
    config.sampling_settings, config.latent_format = {"shift": 3.0, "multiplier": 1.0}, Frames()
    config.set_inference_dtype(dtype, None)
    return patched(BaseModel(config, ModelType.FLOW, device=torch.device("cpu"), unet_model=MiniTrainDIT))


def anima(dtype=torch.float32, cast=None, channels: int = 4) -> ModelPatcher:
    """A MODEL of Anima's kind, small: its layers look across at what an adapter finds in the text. Of newer hosts."""
    settings = {**CROSS, "in_channels": channels, "out_channels": channels}
    config = comfy.supported_models.Anima({"image_model": "anima", **settings})
    config.latent_format = Frames() if channels == 4 else config.latent_format
    config.set_inference_dtype(dtype, cast)
    return patched(config.get_model({}, "", device=torch.device("cpu")))


def patched(base: BaseModel) -> ModelPatcher:
    fill(base.diffusion_model, 0)
    return ModelPatcher(base, comfy.model_management.get_torch_device(), comfy.model_management.unet_offload_device())


class Frames(comfy.latent_formats.SD15):
    """Latents of the small VAE as frames of videos."""

    latent_dimensions = 3


CLIPS = {
    "z_image": (ZImageTokenizer, ZImageTEModel),
    "sd1": (SD1Tokenizer, SD1ClipModel),
    "sd2": (SD2Tokenizer, SD2ClipModel),
    "sdxl": (SDXLTokenizer, SDXLClipModel),
    "refiner": (SDXLTokenizer, SDXLRefinerClipModel),
}


with suppress(ImportError):  # of newer hosts
    import comfy.ldm.anima.model
    from comfy.text_encoders.anima import AnimaTEModel, AnimaTokenizer

    CLIPS["anima"] = AnimaTokenizer, AnimaTEModel
    # The host asks for its adapter without saying how large.
    ADAPTER = dict(source_dim=64, target_dim=64, model_dim=64, num_layers=2, num_heads=4)
    comfy.ldm.anima.model.LLMAdapter = partial(comfy.ldm.anima.model.LLMAdapter, **ADAPTER)
FAMILIES = [family for family in CLIPS if family != "refiner"]
FLOWS = [family for family in ("z_image", "anima") if family in CLIPS]


@cache
def tokenizer(family: str):
    """One for all: nobody changes it, and reading its vocabulary takes longer than making the text encoders."""
    return CLIPS[family][0]()


def clip(family: str = "sd1", dtype=torch.float32, embeddings: str | None = None) -> comfy.sd.CLIP:
    """The text encoders of a family, of 3 layers and 64 wide (clip_g 128), with the real tokenizers."""
    usual = CLIPS[family][0] if embeddings else lambda **_: tokenizer(family)
    target = comfy.supported_models_base.ClipTarget(usual, CLIPS[family][1])
    sizes = {"clip_l": TEXT, "clip_h": TEXT, "clip_g": TEXT_G, "qwen3_4b": QWEN, "qwen3_06b": QWEN}
    sizes = {f"{name}_model_config": dict(size) for name, size in sizes.items()}
    made = comfy.sd.CLIP(target, embedding_directory=embeddings, model_options={"dtype": dtype, **sizes})
    fill(made.cond_stage_model, 1)
    return made


def vae(channels: int = 4) -> comfy.sd.VAE:
    """A KL VAE of the real layout, small."""
    config = {"ddconfig": {**VAE, "z_channels": channels}, "embed_dim": channels}
    network = AutoencoderKL(**config)
    fill(network, 2)
    made = comfy.sd.VAE(sd=network.state_dict(), config={"params": config})
    made.latent_channels = channels  # which the host tells from files only
    return made


def video_vae() -> comfy.sd.VAE:
    """A VAE of videos, of the kind that came with Wan 2.1 and Qwen-Image, small."""
    sizes = dict(dim=8, z_dim=16, dim_mult=[1, 2, 4, 4], num_res_blocks=2, attn_scales=[], dropout=0.0)
    network = WanVAE(**sizes, temperal_downsample=[False, True, True], image_channels=3, conv_out_channels=3)
    fill(network, 4)
    return comfy.sd.VAE(sd=network.state_dict())


def clip_vision(folder) -> ClipVisionModel:
    """An image encoder of 16 numbers a picture. folder: for its configuration, which the host reads from a file."""
    file = folder / "vision.json"
    file.write_text(json.dumps(VISION))
    encoder = ClipVisionModel(file)
    fill(encoder.model, 3)
    return encoder


def persona(made_for, name="ann", t_lo=400, t_hi=800, tokens=4, supercategory="face", seed=0) -> Persona:
    """A persona for a CLIP that has left its start, with a strong bypass, as learned ones have."""
    towers = text_towers(made_for)
    with torch.inference_mode(False):
        word = towers.word(supercategory)
        mapper = StageMapper(word, Stages(t_lo, t_hi), tokens, seed=seed, widths=towers.widths).requires_grad_(False)
        generator = torch.Generator().manual_seed(seed)
        mapper.head.weight.copy_(0.02 * torch.randn(mapper.head.weight.shape, generator=generator))
        mapper.bypass_head.weight.copy_(0.5 * torch.randn(mapper.bypass_head.weight.shape, generator=generator))
    return Persona(name, mapper, towers.family, supercategory)
