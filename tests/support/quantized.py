"""Models of quantized weights: of a tensor class that a pack brings, as GGUF's, and of the host's own in 8 bit."""

import inspect
import json
from collections.abc import Callable

import comfy.model_management
import comfy.ops
import tiny_models
import torch
from comfy.model_patcher import ModelPatcher
from torch import Tensor, nn

FORMAT = "float8_e4m3fn"


class Packed(Tensor):
    """Two numbers of 4 bit in a byte, [out, in / 2], that say they are [out, in]."""

    @staticmethod
    def of(weight: Tensor) -> "Packed":
        scale = weight.abs().amax() / 7
        low, high = (weight / scale).round().add(8).to(torch.uint8).chunk(2, 1)
        packed = (low | high << 4).as_subclass(Packed)
        packed.scale = scale
        return packed

    @property
    def shape(self):
        return torch.Size((self.size(0), 2 * self.size(1)))

    def detach(self):
        return self

    def to(self, *args, **named):
        moved = super().to(*args, **named)
        moved.scale = self.scale
        return moved

    def read(self) -> Tensor:
        plain = self.as_subclass(Tensor)
        return (torch.cat([plain & 15, plain >> 4], 1).float() - 8) * self.scale


class PackedOps(comfy.ops.manual_cast):
    class Linear(comfy.ops.manual_cast.Linear):
        def forward_comfy_cast_weights(self, input):
            bias = None if self.bias is None else self.bias.to(input)
            return nn.functional.linear(input, self.weight.read().to(input), bias)

        def _save_to_state_dict(self, destination, prefix, keep_vars):
            """For the host's estimate of memory."""
            destination[prefix + "weight"] = torch.zeros(self.weight.size(), dtype=torch.uint8, device="meta")


def read(weight: Tensor) -> Tensor:
    """The numbers that a weight stands for."""
    return weight.read() if isinstance(weight, Packed) else weight.dequantize()


def model(kind: str, plain: Callable[[], ModelPatcher] = tiny_models.model) -> ModelPatcher:
    """A tiny model with the weights of its linear layers quantized. kind: "packed" or "fp8"."""
    plain = plain().model
    config, weights = plain.model_config, dict(plain.diffusion_model.state_dict())
    linear = [name for name, part in plain.diffusion_model.named_modules() if isinstance(part, nn.Linear)]
    config.custom_operations = PackedOps if kind == "packed" else in_8_bit(linear, weights)
    made = config.get_model({}, "", device=torch.device("cpu"))
    made.diffusion_model.load_state_dict(weights)
    for name in linear if kind == "packed" else ():
        layer = made.diffusion_model.get_submodule(name)
        layer.weight = nn.Parameter(Packed.of(layer.weight.detach()), requires_grad=False)
    return ModelPatcher(made, comfy.model_management.get_torch_device(), comfy.model_management.unet_offload_device())


def in_8_bit(layers: list[str], weights: dict[str, Tensor]) -> type:
    """The host's layers for weights in 8 bit, which these become where they are."""
    for name in layers:
        weight = weights[f"{name}.weight"]
        scale = weight.abs().amax() / torch.finfo(torch.float8_e4m3fn).max
        weights |= {f"{name}.weight": (weight / scale).to(torch.float8_e4m3fn), f"{name}.weight_scale": scale}
    make = comfy.ops.mixed_precision_ops
    if "layer_quant_config" in inspect.signature(make).parameters:
        return make({name: {"format": FORMAT} for name in layers}, torch.float32, full_precision_mm=True)
    # Since 0.4 it stands beside each weight.
    about = torch.tensor(list(json.dumps({"format": FORMAT}).encode()), dtype=torch.uint8)
    weights |= {f"{name}.comfy_quant": about for name in layers}
    return make({}, torch.float32, full_precision_mm=True)


def read_out(quantized: ModelPatcher, plain: Callable[[], ModelPatcher] = tiny_models.model) -> ModelPatcher:
    """The same model with what its weights stand for in ordinary layers."""
    plain = plain()
    weights = dict(quantized.model.diffusion_model.named_parameters())
    with torch.no_grad():
        for name, weight in plain.model.diffusion_model.named_parameters():
            own = weights[name]
            weight.copy_(own if type(own) is nn.Parameter else read(own))
    return plain
