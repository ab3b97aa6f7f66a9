"""Build a Stable Diffusion checkpoint of seeded random weights, a few MB on disk.

ComfyUI's own loader takes it for SD1.5, SD2 or SDXL. All shapes are real, but every weight is a view into a few
small blocks of noise, and .ckpt files keep views as views (.safetensors files cannot). The network
is no mere noise source either: sampling ends at latents of an ordinary size, and the autoencoder really encodes
colours.
"""

import argparse
import io
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from tools.random_weights import StateDict, constant

CHANNELS, TIME, TOKENS, PLACES = 320, 1280, 49408, 77


@dataclass(frozen=True)
class TextEncoder:
    """CLIP, with the layers' names of Transformers or of OpenCLIP.

    size: the spread of its word embeddings. Branches are as small, so that words stay recognisable.
    """

    prefix: str
    width: int
    layers: int
    openclip: bool = False
    size: float = 0.02


@dataclass(frozen=True)
class Architecture:
    """What ComfyUI tells the families apart by, and how large the UNet is.

    multipliers: of the channels of each level. blocks: residual ones per level. depths: of the transformers of
    each level. adm: the width of what SDXL is told beside the text. linear: whether transformers begin and end with
    a linear layer, or a convolution. velocity: v-prediction.
    """

    multipliers: tuple[int, ...]
    blocks: int
    depths: tuple[int, ...]
    text: tuple[TextEncoder, ...]
    channels_in: int = 4
    adm: int | None = None
    linear: bool = False
    velocity: bool = False
    latent_scale: float = 0.18215

    @property
    def context(self) -> int:
        return sum(encoder.width for encoder in self.text)


CLIP_L = TextEncoder("cond_stage_model.transformer.text_model", 768, 12)
CLIP_H = TextEncoder("cond_stage_model.model", 1024, 24, openclip=True)
# SDXL takes hidden states without a final norm: from this size they come out about as large as with one.
SDXL_TEXT = (
    TextEncoder("conditioner.embedders.0.transformer.text_model", 768, 12, size=0.15),
    TextEncoder("conditioner.embedders.1.model", 1280, 32, openclip=True, size=0.15),
)
SD15 = Architecture((1, 1, 1, 1), 1, (1, 1, 1, 0), (CLIP_L,))
# The smallest depths that ComfyUI takes for SDXL: KOALA's.
SDXL = Architecture((1, 1, 1), 1, (0, 2, 5), SDXL_TEXT, adm=2816, linear=True, latent_scale=0.13025)
ARCHITECTURES = {
    "small": SD15,
    "full": replace(SD15, multipliers=(1, 2, 4, 4), blocks=2),
    "inpainting": replace(SD15, channels_in=9),
    # ComfyUI looks for v-prediction in output block 11, so there must be so many.
    "sd2_v": replace(SD15, blocks=2, text=(CLIP_H,), linear=True, velocity=True),
    "sdxl": SDXL,
    "sdxl_full": replace(SDXL, multipliers=(1, 2, 4), blocks=2, depths=(0, 2, 10)),
    "sdxl_inpainting": replace(SDXL, channels_in=9),
}
# Latent channels 0-2 are brightness, red-green and blue-yellow, each scaled to a photo's usual spread.
TO_LATENT = torch.tensor([[1.2, 1.2, 1.2], [4.0, -4.0, 0.0], [-2.0, -2.0, 4.0]])


def add_text_encoder(sd: StateDict, encoder: TextEncoder) -> None:
    """Its attention stays soft."""
    model, width, size = encoder.prefix, encoder.width, encoder.size
    if encoder.openclip:
        words, places, layers = "token_embedding.weight", "positional_embedding", "transformer.resblocks"
        out, wide, narrow = "attn.out_proj", "mlp.c_fc", "mlp.c_proj"
        norms, last = ("ln_1", "ln_2"), "ln_final"
    else:
        words, places = "embeddings.token_embedding.weight", "embeddings.position_embedding.weight"
        layers, out, wide, narrow = "encoder.layers", "self_attn.out_proj", "mlp.fc1", "mlp.fc2"
        norms, last = ("layer_norm1", "layer_norm2"), "final_layer_norm"
    sd[f"{model}.{words}"] = sd.noise(TOKENS, width, std=size)
    sd[f"{model}.{places}"] = sd.noise(PLACES, width, std=size / 2)
    if encoder.openclip:
        sd[f"{model}.text_projection"] = sd.noise(width, width, std=width**-0.5)
    else:
        sd[f"{model}.embeddings.position_ids"] = torch.arange(PLACES)[None]
    for index in range(encoder.layers):
        layer = f"{model}.{layers}.{index}"
        if encoder.openclip:
            sd[f"{layer}.attn.in_proj_weight"] = sd.noise(3 * width, width, std=1.2 / width**0.5)
            sd[f"{layer}.attn.in_proj_bias"] = constant(0, 3 * width)
        else:
            for name, gain in {"q_proj": 1.2, "k_proj": 1.2, "v_proj": 1.0}.items():
                sd.weight(f"{layer}.self_attn.{name}", width, width, gain=gain)
        sd.weight(f"{layer}.{out}", width, width, gain=size)
        sd.weight(f"{layer}.{wide}", 4 * width, width)
        sd.weight(f"{layer}.{narrow}", width, 4 * width, gain=size)
        for norm in norms:
            sd.norm(f"{layer}.{norm}", width)
    sd.norm(f"{model}.{last}", width)


def add_residual(sd: StateDict, name: str, channels_in: int, channels: int) -> None:
    sd.norm(f"{name}.in_layers.0", channels_in)
    sd.weight(f"{name}.in_layers.2", channels, channels_in, 3, 3)
    sd.weight(f"{name}.emb_layers.1", channels, TIME)
    sd.norm(f"{name}.out_layers.0", channels)
    sd.weight(f"{name}.out_layers.3", channels, channels, 3, 3, gain=0.5)
    if channels_in != channels:
        sd.weight(f"{name}.skip_connection", channels, channels_in, 1, 1)


def add_transformer(sd: StateDict, name: str, channels: int, depth: int, architecture: Architecture) -> None:
    outer = (channels, channels) if architecture.linear else (channels, channels, 1, 1)
    sd.norm(f"{name}.norm", channels)
    sd.weight(f"{name}.proj_in", *outer)
    sd.weight(f"{name}.proj_out", *outer, gain=0.5)
    for block in (f"{name}.transformer_blocks.{index}" for index in range(depth)):
        for attention, width in (("attn1", channels), ("attn2", architecture.context)):
            sd.weight(f"{block}.{attention}.to_q", channels, channels, gain=1.4, bias=False)
            sd.weight(f"{block}.{attention}.to_k", channels, width, gain=1.4, bias=False)
            sd.weight(f"{block}.{attention}.to_v", channels, width, bias=False)
            sd.weight(f"{block}.{attention}.to_out.0", channels, channels, gain=2.0)
        sd.weight(f"{block}.ff.net.0.proj", 8 * channels, channels)
        sd.weight(f"{block}.ff.net.2", channels, 4 * channels)
        for index in (1, 2, 3):
            sd.norm(f"{block}.norm{index}", channels)


def add_unet(sd: StateDict, architecture: Architecture) -> None:
    """The UNet in the order in which ComfyUI counts its blocks."""
    unet, blocks = "model.diffusion_model", architecture.blocks
    levels = list(zip(architecture.multipliers, architecture.depths, strict=True))
    sd.weight(f"{unet}.time_embed.0", TIME, CHANNELS)
    sd.weight(f"{unet}.time_embed.2", TIME, TIME)
    if architecture.adm:
        sd.weight(f"{unet}.label_emb.0.0", TIME, architecture.adm)
        sd.weight(f"{unet}.label_emb.0.2", TIME, TIME)
    sd.weight(f"{unet}.input_blocks.0.0", CHANNELS, architecture.channels_in, 3, 3, gain=0.5)
    channels, skips = CHANNELS, [CHANNELS]
    for level, (multiplier, depth) in enumerate(levels):
        for _ in range(blocks):
            name = f"{unet}.input_blocks.{len(skips)}"
            add_residual(sd, f"{name}.0", channels, channels := multiplier * CHANNELS)
            if depth:
                add_transformer(sd, f"{name}.1", channels, depth, architecture)
            skips.append(channels)
        if level + 1 < len(levels):
            sd.weight(f"{unet}.input_blocks.{len(skips)}.0.op", channels, channels, 3, 3)
            skips.append(channels)
    add_residual(sd, f"{unet}.middle_block.0", channels, channels)
    add_transformer(sd, f"{unet}.middle_block.1", channels, max(architecture.depths), architecture)
    add_residual(sd, f"{unet}.middle_block.2", channels, channels)
    index = 0
    for level, (multiplier, depth) in reversed(list(enumerate(levels))):
        for last in [False] * blocks + [True]:
            name = f"{unet}.output_blocks.{index}"
            add_residual(sd, f"{name}.0", channels + skips.pop(), channels := multiplier * CHANNELS)
            if depth:
                add_transformer(sd, f"{name}.1", channels, depth, architecture)
            if last and level:
                sd.weight(f"{name}.{1 + bool(depth)}.conv", channels, channels, 3, 3)
            index += 1
    sd.norm(f"{unet}.out.0", CHANNELS)
    sd.weight(f"{unet}.out.2", 4, CHANNELS, 3, 3, gain=0.3)
    last_block = f"{unet}.output_blocks.{index - 1}"
    if architecture.velocity:
        # By this spread ComfyUI knows v-prediction. Nothing is passed through: where noise and latents are of one
        # size, the best guess at the velocity is 0.
        sd[f"{last_block}.1.transformer_blocks.0.norm1.bias"] = sd.noise(CHANNELS, std=0.125)
    else:
        pass_input_through(sd, unet, f"{last_block}.0.skip_connection.weight")


def pass_input_through(sd: StateDict, unet: str, last_skip: str) -> None:
    """Lead the noisy latent, as pairs of channels +x and -x, from the first to the last convolution.

    silu(x) - silu(-x) = x, so the last convolution can put the pairs together again.
    """
    first, last = f"{unet}.input_blocks.0.0.weight", f"{unet}.out.2.weight"
    channel = torch.arange(CHANNELS)
    latent, sign = channel // 2 % 4, (1 - 2 * (channel % 2)).half()
    sd[first] = sd[first].clone()
    sd[first][channel, latent, 1, 1] += sign
    # Rows that advance by one element: a single 1 in the vector makes a mirrored identity matrix.
    vector = sd.noise(1, 3 * CHANNELS - 1, std=0.3 / (2 * CHANNELS) ** 0.5)[0].clone()
    vector[2 * CHANNELS - 1] = 1
    sd[last_skip] = vector.as_strided((CHANNELS, 2 * CHANNELS, 1, 1), (1, 1, 1, 1))
    sd[last] = sd[last].clone()
    sd[last][latent.flip(0), channel, 1, 1] += 1.8 * sign.flip(0) / (CHANNELS / 8)


def add_autoencoder(sd: StateDict, latent_scale: float) -> None:
    """TAESD: colours travel as pairs of channels +x and -x, which ReLU leaves alone, through blurs."""
    vae = "first_stage_model"
    blur = (torch.eye(64)[:, :, None, None] * torch.full((3, 3), 1 / 9)).half()
    spread, gather = torch.zeros(64, 3), torch.zeros(3, 64)
    for colour in range(3):
        spread[2 * colour, colour], spread[2 * colour + 1, colour] = 1, -1
        gather[colour, 2 * colour], gather[colour, 2 * colour + 1] = 1, -1

    def ends(name, inputs, matrix, bias):
        """A random 3x3 convolution with `matrix` added at its centre."""
        shape = (bias.shape[0], inputs, 3, 3)
        weight = sd.noise(*shape, std=0.05 / (9 * inputs) ** 0.5).clone()
        weight[: matrix.shape[0], : matrix.shape[1], 1, 1] += matrix.half()
        sd[f"{name}.weight"], sd[f"{name}.bias"] = weight, bias.half()

    def middle(part, blocks, blurs):
        for index in blocks:
            for conv, gain in ((0, 1.0), (2, 1.0), (4, 0.1)):
                sd.weight(f"{part}.{index}.conv.{conv}", 64, 64, 3, 3, gain=gain)
        for index in blurs:
            sd[f"{part}.{index}.weight"] = blur

    encoder, decoder = f"{vae}.taesd_encoder", f"{vae}.taesd_decoder"
    ends(f"{encoder}.0", 3, spread, -0.5 * spread.sum(1))
    middle(encoder, (1, 3, 4, 5, 7, 8, 9, 11, 12, 13), (2, 6, 10))
    ends(f"{encoder}.14", 64, TO_LATENT @ gather, torch.zeros(4))
    edge = 1.5 * gather.sum(0)  # latent channel 3: how brightness changes from left to right
    sd[f"{encoder}.14.weight"][3, :, 1] += torch.stack([-edge, 0 * edge, edge], -1).half()
    ends(f"{decoder}.1", 4, spread, torch.zeros(64))
    middle(decoder, (3, 4, 5, 8, 9, 10, 13, 14, 15, 18), (7, 12, 17))
    ends(f"{decoder}.19", 64, torch.linalg.inv(TO_LATENT) @ gather, torch.full((3,), 0.5))
    sd[f"{vae}.vae_scale"], sd[f"{vae}.vae_shift"] = torch.tensor(latent_scale), torch.tensor(0.0)


def build(path: Path, architecture: str = "small", seed: int = 0) -> Path:
    """Write the checkpoint: "full" has SD1.5's own UNet and "sdxl_full" SDXL's, the others have 320 channels at
    every level.

    The same seed gives the same file, byte for byte.
    """
    sd, chosen = StateDict(seed), ARCHITECTURES[architecture]
    for encoder in chosen.text:
        add_text_encoder(sd, encoder)
    add_unet(sd, chosen)
    add_autoencoder(sd, chosen.latent_scale)
    buffer = io.BytesIO()  # torch would write a file's name into it
    torch.save({"state_dict": dict(sd)}, buffer)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(buffer.getvalue())
    return path


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("path", type=Path, help="file to write, ending in .ckpt")
    parser.add_argument("--architecture", choices=ARCHITECTURES, default="small")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    build(options.path, options.architecture, options.seed)
