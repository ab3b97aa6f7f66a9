"""Random weights under the names that real files have, in the sizes that small_sizes/ tells a server."""

from pathlib import Path

import torch
from safetensors.torch import save_file

from tools.random_weights import StateDict, constant

SIZES = Path(__file__).parent / "small_sizes"  # the pack that a server needs to take them
WORDS, LAYERS, HEAD = 151936, 4, 128  # Qwen's words and width of a head are the real ones


class Weights(StateDict):
    def scale(self, name: str, width: int) -> None:
        """Of a norm that only scales."""
        self[f"{name}.weight"] = constant(1, width)

    def linear(self, name: str, *shape: int, gain: float = 1.0) -> None:
        self.weight(name, *shape, gain=gain, bias=False)

    def save(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({name: tensor.contiguous().bfloat16() for name, tensor in self.items()}, path)


def qwen(path: Path, width: int) -> None:
    """As qwen_3_4b.safetensors and qwen_3_06b_base.safetensors."""
    sd, heads = Weights(0), {"q_proj": 2, "k_proj": 1, "v_proj": 1}
    sd["model.embed_tokens.weight"] = 0.02 * torch.randn(WORDS, width, generator=sd.noise.generator)
    for layer in (f"model.layers.{number}" for number in range(LAYERS)):
        for name, count in heads.items():
            sd.linear(f"{layer}.self_attn.{name}", count * HEAD, width)
        sd.linear(f"{layer}.self_attn.o_proj", width, 2 * HEAD)
        for name in ("q_norm", "k_norm"):
            sd.scale(f"{layer}.self_attn.{name}", HEAD)
        for name, shape in {"gate_proj": (128, width), "up_proj": (128, width), "down_proj": (width, 128)}.items():
            sd.linear(f"{layer}.mlp.{name}", *shape)
        for name in ("input_layernorm", "post_attention_layernorm"):
            sd.scale(f"{layer}.{name}", width)
    sd.scale("model.norm", width)
    sd.save(path)
