"""Z-Image's three files, with the names that theirs have, small and with random weights."""

from pathlib import Path

import torch
from small_files import Weights, qwen

DIM, TEXT, HEAD, REFINERS, LAYERS = 256, 64, 64, 2, 2
AUTOENCODER = "ae.ckpt"  # such files may hold one weight under many names
CHANNELS = 128, 256, 512, 512  # the VAE's levels, as in its file: there is no smaller one


def add_layer(sd: Weights, name: str, modulated: bool = True) -> None:
    sd.linear(f"{name}.attention.qkv", 3 * DIM, DIM)
    sd.linear(f"{name}.attention.out", DIM, DIM)
    for norm in ("q_norm", "k_norm"):
        sd.scale(f"{name}.attention.{norm}", HEAD)
    for part in ("w1", "w2", "w3"):
        sd.linear(f"{name}.feed_forward.{part}", DIM, DIM)
    for norm in ("attention_norm1", "attention_norm2", "ffn_norm1", "ffn_norm2"):
        sd.scale(f"{name}.{norm}", DIM)
    if modulated:
        sd.weight(f"{name}.adaLN_modulation.0", 4 * DIM, 256)


def transformer(path: Path, seed: int = 0) -> None:
    """As z_image_bf16.safetensors and z_image_turbo_bf16.safetensors."""
    sd = Weights(seed)
    sd.weight("x_embedder", DIM, 2 * 2 * 16)
    sd.weight("t_embedder.mlp.0", DIM, 256)
    sd.weight("t_embedder.mlp.2", 256, DIM)
    sd.scale("cap_embedder.0", TEXT)
    sd.weight("cap_embedder.1", DIM, TEXT)
    for number in range(REFINERS):
        add_layer(sd, f"noise_refiner.{number}")
        add_layer(sd, f"context_refiner.{number}", modulated=False)
    for number in range(LAYERS):
        add_layer(sd, f"layers.{number}")
    sd.weight("final_layer.adaLN_modulation.1", DIM, 256)
    sd.weight("final_layer.linear", 2 * 2 * 16, DIM)
    for name in ("x_pad_token", "cap_pad_token"):
        sd[name] = sd.noise(1, DIM, std=1)
    sd.save(path)


def write(models: Path) -> None:
    """All of them into a host's folders, under the names that the template has."""
    transformer(models / "diffusion_models/z_image_bf16.safetensors")
    transformer(models / "diffusion_models/z_image_turbo_bf16.safetensors", seed=1)
    qwen(models / "text_encoders/qwen_3_4b.safetensors", TEXT)
    autoencoder(models / f"vae/{AUTOENCODER}")


def add_residual(sd: Weights, name: str, inputs: int, outputs: int) -> None:
    for number, width in ((1, inputs), (2, outputs)):
        sd.norm(f"{name}.norm{number}", width)
        sd.weight(f"{name}.conv{number}", outputs, width, 3, 3)
    if inputs != outputs:
        sd.weight(f"{name}.nin_shortcut", outputs, inputs, 1, 1)


def add_middle(sd: Weights, half: str, inputs: int, outputs: int) -> None:
    """What both halves of the VAE have: their ends, and the middle with its attention."""
    wide = CHANNELS[-1]
    first, last = (CHANNELS[0], wide) if half == "encoder" else (wide, CHANNELS[0])
    sd.weight(f"{half}.conv_in", first, inputs, 3, 3)
    for number in (1, 2):
        add_residual(sd, f"{half}.mid.block_{number}", wide, wide)
    sd.norm(f"{half}.mid.attn_1.norm", wide)
    for name in ("q", "k", "v", "proj_out"):
        sd.weight(f"{half}.mid.attn_1.{name}", wide, wide, 1, 1)
    sd.norm(f"{half}.norm_out", last)
    sd.weight(f"{half}.conv_out", outputs, last, 3, 3)


def autoencoder(path: Path) -> None:
    """As ae.safetensors, in full size: what all its weights share is a few MB."""
    sd, levels = Weights(0), list(enumerate(CHANNELS))
    add_middle(sd, "encoder", 3, 2 * 16)
    add_middle(sd, "decoder", 16, 3)
    for half, step, blocks, way in (("encoder", "down", 2, levels), ("decoder", "up", 3, levels[::-1])):
        channels = way[0][1]
        for level, width in way:
            for number in range(blocks):
                add_residual(sd, f"{half}.{step}.{level}.block.{number}", channels, width)
                channels = width
            if level != way[-1][0]:
                sd.weight(f"{half}.{step}.{level}.{step}sample.conv", width, width, 3, 3)
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(dict(sd), path)
