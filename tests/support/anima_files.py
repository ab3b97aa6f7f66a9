"""Anima's three files, with the names that theirs have, small and with random weights."""

from pathlib import Path

import torch
from small_files import Weights, qwen

from tools.random_weights import constant

DIM, TEXT, HEAD, BLOCKS, LORA = 256, 96, 64, 2, 256
WORDS, ADAPTER_HEAD, ADAPTER_BLOCKS = 32128, 48, 2  # the adapter's own, T5's
LATENT, LEVELS = 16, (16, 32, 64, 64)  # the VAE's channels
IN_TIME = 1, 2  # where it steps in time, too, counted from the picture


def add_attention(sd: Weights, name: str, width: int, context: int, head: int, out: str) -> None:
    for part, inputs in {"q_proj": width, "k_proj": context, "v_proj": context}.items():
        sd.linear(f"{name}.{part}", width, inputs)
    sd.linear(f"{name}.{out}", width, width)
    for norm in ("q_norm", "k_norm"):
        sd.scale(f"{name}.{norm}", head)


def add_adapter(sd: Weights) -> None:
    """What makes T5's words of Qwen's."""
    sd["llm_adapter.embed.weight"] = torch.randn(WORDS, TEXT, generator=sd.noise.generator)
    for block in (f"llm_adapter.blocks.{number}" for number in range(ADAPTER_BLOCKS)):
        for part in ("self_attn", "cross_attn"):
            sd.scale(f"{block}.norm_{part}", TEXT)
            add_attention(sd, f"{block}.{part}", TEXT, TEXT, ADAPTER_HEAD, "o_proj")
        sd.scale(f"{block}.norm_mlp", TEXT)
        sd.weight(f"{block}.mlp.0", 4 * TEXT, TEXT)
        sd.weight(f"{block}.mlp.2", TEXT, 4 * TEXT)
    sd.weight("llm_adapter.out_proj", TEXT, TEXT)
    sd.scale("llm_adapter.norm", TEXT)


def add_modulation(sd: Weights, name: str, outputs: int) -> None:
    sd.linear(f"{name}.1", LORA, DIM)
    sd.linear(f"{name}.2", outputs * DIM, LORA, gain=0.5)


def transformer(path: Path) -> None:
    """As anima-base-v1.0.safetensors."""
    sd = Weights(0)
    sd.linear("x_embedder.proj.1", DIM, 2 * 2 * (LATENT + 1))
    sd.linear("t_embedder.1.linear_1", DIM, DIM)
    sd.linear("t_embedder.1.linear_2", 3 * DIM, DIM)
    sd.scale("t_embedding_norm", DIM)
    for block in (f"blocks.{number}" for number in range(BLOCKS)):
        add_attention(sd, f"{block}.self_attn", DIM, DIM, HEAD, "output_proj")
        add_attention(sd, f"{block}.cross_attn", DIM, TEXT, HEAD, "output_proj")
        sd.linear(f"{block}.cross_attn.v_proj", DIM, TEXT, gain=32)  # most of the 512 tokens it looks at are empty
        sd.linear(f"{block}.mlp.layer1", 4 * DIM, DIM)
        sd.linear(f"{block}.mlp.layer2", DIM, 4 * DIM)
        for part in ("self_attn", "cross_attn", "mlp"):
            add_modulation(sd, f"{block}.adaln_modulation_{part}", 3)
    add_modulation(sd, "final_layer.adaln_modulation", 2)
    sd.linear("final_layer.linear", 2 * 2 * LATENT, DIM)
    add_adapter(sd)
    sd.save(path)


def add_residual(sd: Weights, name: str, inputs: int, outputs: int) -> None:
    for place, width in ((0, inputs), (3, outputs)):
        sd[f"{name}.residual.{place}.gamma"] = constant(1, width, 1, 1, 1)
    sd.weight(f"{name}.residual.2", outputs, inputs, 3, 3, 3)
    sd.weight(f"{name}.residual.6", outputs, outputs, 3, 3, 3)
    if inputs != outputs:
        sd.weight(f"{name}.shortcut", outputs, inputs, 1, 1, 1)


def add_middle(sd: Weights, half: str, inputs: int, outputs: int) -> None:
    """What both halves of the VAE have: their ends, and the middle with its attention."""
    wide = LEVELS[-1]
    first, last = (LEVELS[0], wide) if half == "encoder" else (wide, LEVELS[0])
    sd.weight(f"{half}.conv1", first, inputs, 3, 3, 3)
    for place in (0, 2):
        add_residual(sd, f"{half}.middle.{place}", wide, wide)
    sd[f"{half}.middle.1.norm.gamma"] = constant(1, wide, 1, 1)
    sd.weight(f"{half}.middle.1.to_qkv", 3 * wide, wide, 1, 1)
    sd.weight(f"{half}.middle.1.proj", wide, wide, 1, 1)
    sd[f"{half}.head.0.gamma"] = constant(1, last, 1, 1, 1)
    sd.weight(f"{half}.head.2", outputs, last, 3, 3, 3)


def autoencoder(path: Path) -> None:
    """As qwen_image_vae.safetensors, which is Wan 2.1's."""
    sd = Weights(0)
    add_middle(sd, "encoder", 3, 2 * LATENT)
    add_middle(sd, "decoder", LATENT, 3)
    sd.weight("conv1", 2 * LATENT, 2 * LATENT, 1, 1, 1)
    sd.weight("conv2", LATENT, LATENT, 1, 1, 1)
    number, channels = 0, LEVELS[0]
    for level, width in enumerate(LEVELS):
        for _ in range(2):
            add_residual(sd, f"encoder.downsamples.{number}", channels, width)
            number, channels = number + 1, width
        if level + 1 < len(LEVELS):
            sd.weight(f"encoder.downsamples.{number}.resample.1", width, width, 3, 3)
            if level in IN_TIME:
                sd.weight(f"encoder.downsamples.{number}.time_conv", width, width, 3, 1, 1)
            number += 1
    number = 0
    for level, width in reversed(list(enumerate(LEVELS))):
        for _ in range(3):
            add_residual(sd, f"decoder.upsamples.{number}", channels, width)
            number, channels = number + 1, width
        if level:
            sd.weight(f"decoder.upsamples.{number}.resample.1", width // 2, width, 3, 3)
            if level - 1 in IN_TIME:
                sd.weight(f"decoder.upsamples.{number}.time_conv", 2 * width, width, 3, 1, 1)
            number, channels = number + 1, width // 2
    sd.save(path)


def write(models: Path) -> None:
    """All of them into a host's folders, under the names that the template has."""
    transformer(models / "diffusion_models/anima-base-v1.0.safetensors")
    qwen(models / "text_encoders/qwen_3_06b_base.safetensors", TEXT)
    autoencoder(models / "vae/qwen_image_vae.safetensors")
