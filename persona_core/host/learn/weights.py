"""The weights of a model, of whatever kind of tensor its loader made them.

A quantized weight is a tensor of a class of its own that only its layer knows to read. Two ways are usual: packed
numbers that say they are of another shape (GGUF), and a tensor around others (torch's `__tensor_flatten__`, which the
host uses for fp8 and fp4).
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn


def weights_of(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """What a model's `state_dict` would hold, as it lies in the layers: those of quantized weights give other things
    for it."""
    for prefix, layer in model.named_modules(remove_duplicate=False):
        for name, weight in (*layer._parameters.items(), *layer._buffers.items()):
            if weight is not None and name not in layer._non_persistent_buffers_set:
                yield f"{prefix}.{name}".removeprefix("."), weight


def stored(weight: Tensor) -> list[Tensor]:
    """The plain tensors that a weight consists of."""
    if hasattr(weight, "__tensor_flatten__"):
        names, _ = weight.__tensor_flatten__()
        return [tensor for name in names for tensor in stored(getattr(weight, name))]
    return [weight.as_subclass(Tensor)]


def is_plain(weight: Tensor) -> bool:
    return type(weight) in (Tensor, nn.Parameter)


def alias(weight: Tensor) -> Tensor:
    """A normal tensor of the same kind on the storage of an inference tensor."""
    if hasattr(weight, "__tensor_flatten__"):
        names, about = weight.__tensor_flatten__()
        parts = {name: alias(getattr(weight, name)) for name in names}
        return type(weight).__tensor_unflatten__(parts, about, weight.size(), weight.stride())
    normal = torch.empty(0, dtype=weight.dtype, device=weight.device)
    normal.set_(weight.untyped_storage(), weight.storage_offset(), weight.size(), weight.stride())
    if is_plain(weight):
        return normal
    quantized = normal.as_subclass(type(weight))
    quantized.__dict__.update(weight.__dict__)
    return quantized


def on_device(weight: Tensor, device: torch.device) -> Tensor:
    """A copy there, with all that a weight of its own kind says of itself."""
    moved = weight.detach().to(device)
    if not is_plain(weight) and not hasattr(weight, "__tensor_flatten__"):
        moved.__dict__.update({**weight.__dict__, **moved.__dict__})
    return moved
