"""The models of the other trainers, as diffusers and transformers have them.

UNet and text encoder have the weights of the same checkpoint as the host's; the autoencoder's and CLIP vision's, which
the checkpoint lacks, are random.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.loaders.single_file_utils import convert_ldm_clip_checkpoint, convert_ldm_unet_checkpoint
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPVisionConfig, CLIPVisionModel

from tools.random_checkpoint import ARCHITECTURES, CHANNELS

TEXT = CLIPTextConfig(
    hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12, vocab_size=49408,
    max_position_embeddings=77, hidden_act="quick_gelu", bos_token_id=49406, eos_token_id=49407,
)  # fmt: skip
VISION = CLIPVisionConfig(
    hidden_size=1024, intermediate_size=4096, num_hidden_layers=24, num_attention_heads=16, patch_size=14,
    image_size=224,
)  # fmt: skip
VAE = {
    "block_out_channels": (128, 256, 512, 512),
    "layers_per_block": 2,
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "latent_channels": 4,
}


def unet_config(name: str) -> dict:
    """What diffusers calls an architecture of random_checkpoint."""
    architecture = ARCHITECTURES[name]
    down = ["CrossAttnDownBlock2D" if depth else "DownBlock2D" for depth in architecture.depths]
    up = ["CrossAttnUpBlock2D" if depth else "UpBlock2D" for depth in reversed(architecture.depths)]
    return {
        "block_out_channels": tuple(CHANNELS * multiplier for multiplier in architecture.multipliers),
        "layers_per_block": architecture.blocks,
        "down_block_types": down,
        "up_block_types": up,
        "cross_attention_dim": architecture.context,
        "attention_head_dim": 8,
    }


@dataclass(frozen=True)
class Models:
    """In fp32, frozen."""

    unet: UNet2DConditionModel
    text: CLIPTextModel
    vae: AutoencoderKL
    vision: CLIPVisionModel


def load(file: Path, architecture: str, host: nn.Module, device: torch.device) -> Models:
    """host: the checkpoint's UNet in fp32, whose memory is shared."""
    text, words = CLIPTextModel(TEXT), convert_ldm_clip_checkpoint(torch.load(file, weights_only=True)["state_dict"])
    # transformers 5 has no text_model within a CLIPTextModel any more; before, it had.
    inner = any(name.startswith("text_model.") for name in text.state_dict())
    words = {name if inner else name.removeprefix("text_model."): value for name, value in words.items()}
    text.load_state_dict({name: value for name, value in words.items() if "position_ids" not in name})
    config = unet_config(architecture)
    with torch.device("meta"):
        unet = UNet2DConditionModel(**config)
    weights = {f"model.diffusion_model.{name}": weight for name, weight in host.state_dict().items()}
    unet.load_state_dict(convert_ldm_unet_checkpoint(weights, config), assign=True)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        vae, vision = AutoencoderKL(**VAE), CLIPVisionModel(VISION)
    return Models(*(model.to(device).eval().requires_grad_(False) for model in (unet, text, vae, vision)))
