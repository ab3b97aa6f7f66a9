"""Build a Stable Diffusion 1.5 checkpoint of seeded random weights, a few MB on disk.

ComfyUI's own loader takes it for SD1.5. All shapes are real, but every weight is a view into a few
small blocks of noise, and .ckpt files keep views as views (.safetensors files cannot). The network
is no mere noise source either: the UNet passes its input through to its output beside the random
part, so that sampling ends at latents of an ordinary size, and the autoencoder really encodes colours.
"""

import argparse
import io
import math
from pathlib import Path

import torch
from torch import Tensor

BLOCK = 2**17  # numbers per block of noise: more makes the file larger and rows overlap less
LATENT_SCALE = 0.18215
# Per architecture: channel multiplier of each level, residual blocks per level, levels with attention.
ARCHITECTURES = {"small": ((1, 1, 1, 1), 1, 3), "full": ((1, 2, 4, 4), 2, 3)}
CHANNELS, TIME, CONTEXT, TOKENS, LAYERS = 320, 1280, 768, 49408, 12
# Latent channels 0-2 are brightness, red-green and blue-yellow, each scaled to a photo's usual spread.
TO_LATENT = torch.tensor([[1.2, 1.2, 1.2], [4.0, -4.0, 0.0], [-2.0, -2.0, 4.0]])


class Noise:
    """Hands out random tensors that share a few blocks of memory, one block per standard deviation."""

    def __init__(self, seed: int):
        self.generator = torch.Generator().manual_seed(seed)
        self.blocks = {}

    def __call__(self, *shape: int, std: float) -> Tensor:
        """A tensor with overlapping rows; std is met within a factor of 2 ** 0.25."""
        level = round(2 * math.log2(std))
        if level not in self.blocks:
            self.blocks[level] = (torch.randn(BLOCK, generator=self.generator) * 2 ** (level / 2)).half()
        rows, row = shape[0], math.prod(shape[1:])
        # At most half of the block, so that tensors of one shape can begin at different places.
        stride = min((BLOCK - row) // rows // 2, row) | 1
        start = torch.randint(BLOCK - row - stride * (rows - 1), (1,), generator=self.generator).item()
        inner = torch.empty(shape, device="meta").stride()[1:]
        return self.blocks[level].as_strided(shape, (stride, *inner), start)


def constant(value: float, *shape: int) -> Tensor:
    return torch.tensor(value).half().expand(shape)


class StateDict(dict):
    """A state dict that is filled layer by layer. gain 1 keeps the spread of unit noise."""

    def __init__(self, seed: int):
        self.noise = Noise(seed)

    def weight(self, name: str, *shape: int, gain: float = 1.0, bias: bool = True) -> None:
        self[f"{name}.weight"] = self.noise(*shape, std=gain / math.prod(shape[1:]) ** 0.5)
        if bias:
            self[f"{name}.bias"] = constant(0, shape[0])

    def norm(self, name: str, channels: int) -> None:
        self[f"{name}.weight"], self[f"{name}.bias"] = constant(1, channels), constant(0, channels)


def add_text_encoder(sd: StateDict) -> None:
    """CLIP-L. Small branches keep a word recognisable through the layers, attention stays soft."""
    model = "cond_stage_model.transformer.text_model"
    sd[f"{model}.embeddings.token_embedding.weight"] = sd.noise(TOKENS, CONTEXT, std=0.02)
    sd[f"{model}.embeddings.position_embedding.weight"] = sd.noise(77, CONTEXT, std=0.01)
    sd[f"{model}.embeddings.position_ids"] = torch.arange(77)[None]
    for index in range(LAYERS):
        layer = f"{model}.encoder.layers.{index}"
        for name, gain in {"q_proj": 1.2, "k_proj": 1.2, "v_proj": 1.0, "out_proj": 0.02}.items():
            sd.weight(f"{layer}.self_attn.{name}", CONTEXT, CONTEXT, gain=gain)
        sd.weight(f"{layer}.mlp.fc1", 4 * CONTEXT, CONTEXT)
        sd.weight(f"{layer}.mlp.fc2", CONTEXT, 4 * CONTEXT, gain=0.02)
        sd.norm(f"{layer}.layer_norm1", CONTEXT)
        sd.norm(f"{layer}.layer_norm2", CONTEXT)
    sd.norm(f"{model}.final_layer_norm", CONTEXT)


def add_residual(sd: StateDict, name: str, channels_in: int, channels: int) -> None:
    sd.norm(f"{name}.in_layers.0", channels_in)
    sd.weight(f"{name}.in_layers.2", channels, channels_in, 3, 3)
    sd.weight(f"{name}.emb_layers.1", channels, TIME)
    sd.norm(f"{name}.out_layers.0", channels)
    sd.weight(f"{name}.out_layers.3", channels, channels, 3, 3, gain=0.5)
    if channels_in != channels:
        sd.weight(f"{name}.skip_connection", channels, channels_in, 1, 1)


def add_transformer(sd: StateDict, name: str, channels: int) -> None:
    sd.norm(f"{name}.norm", channels)
    sd.weight(f"{name}.proj_in", channels, channels, 1, 1)
    sd.weight(f"{name}.proj_out", channels, channels, 1, 1, gain=0.5)
    block = f"{name}.transformer_blocks.0"
    for attention, width in (("attn1", channels), ("attn2", CONTEXT)):
        sd.weight(f"{block}.{attention}.to_q", channels, channels, gain=1.4, bias=False)
        sd.weight(f"{block}.{attention}.to_k", channels, width, gain=1.4, bias=False)
        sd.weight(f"{block}.{attention}.to_v", channels, width, bias=False)
        sd.weight(f"{block}.{attention}.to_out.0", channels, channels, gain=2.0)
    sd.weight(f"{block}.ff.net.0.proj", 8 * channels, channels)
    sd.weight(f"{block}.ff.net.2", channels, 4 * channels)
    for index in (1, 2, 3):
        sd.norm(f"{block}.norm{index}", channels)


def add_unet(sd: StateDict, multipliers: tuple, blocks: int, attention_levels: int) -> None:
    """The UNet in the order in which ComfyUI counts its blocks."""
    unet = "model.diffusion_model"
    sd.weight(f"{unet}.time_embed.0", TIME, CHANNELS)
    sd.weight(f"{unet}.time_embed.2", TIME, TIME)
    sd.weight(f"{unet}.input_blocks.0.0", CHANNELS, 4, 3, 3, gain=0.5)
    channels, skips = CHANNELS, [CHANNELS]
    for level, multiplier in enumerate(multipliers):
        for _ in range(blocks):
            name = f"{unet}.input_blocks.{len(skips)}"
            add_residual(sd, f"{name}.0", channels, channels := multiplier * CHANNELS)
            if level < attention_levels:
                add_transformer(sd, f"{name}.1", channels)
            skips.append(channels)
        if level + 1 < len(multipliers):
            sd.weight(f"{unet}.input_blocks.{len(skips)}.0.op", channels, channels, 3, 3)
            skips.append(channels)
    add_residual(sd, f"{unet}.middle_block.0", channels, channels)
    add_transformer(sd, f"{unet}.middle_block.1", channels)
    add_residual(sd, f"{unet}.middle_block.2", channels, channels)
    index = 0
    for level, multiplier in reversed(list(enumerate(multipliers))):
        for last in [False] * blocks + [True]:
            name, attention = f"{unet}.output_blocks.{index}", level < attention_levels
            add_residual(sd, f"{name}.0", channels + skips.pop(), channels := multiplier * CHANNELS)
            if attention:
                add_transformer(sd, f"{name}.1", channels)
            if last and level:
                sd.weight(f"{name}.{1 + attention}.conv", channels, channels, 3, 3)
            index += 1
    sd.norm(f"{unet}.out.0", CHANNELS)
    sd.weight(f"{unet}.out.2", 4, CHANNELS, 3, 3, gain=0.3)
    pass_input_through(sd, unet, f"{unet}.output_blocks.{index - 1}.0.skip_connection.weight")


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


def add_autoencoder(sd: StateDict) -> None:
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
    sd[f"{vae}.vae_scale"], sd[f"{vae}.vae_shift"] = torch.tensor(LATENT_SCALE), torch.tensor(0.0)


def build(path: Path, architecture: str = "small", seed: int = 0) -> Path:
    """Write the checkpoint: "full" has SD1.5's own UNet, "small" one of 320 channels at every level.

    The same seed gives the same file, byte for byte.
    """
    sd = StateDict(seed)
    add_text_encoder(sd)
    add_unet(sd, *ARCHITECTURES[architecture])
    add_autoencoder(sd)
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
