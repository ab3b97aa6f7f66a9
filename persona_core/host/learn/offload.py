"""Models that do not fit on the device: they lie where they do while they are not loaded, and each part of a layer gets
its weights on the device for its calls only.

The host does so while it paints, but newer ones in memory that the next part gets at once, and autograd would go back
through the wrong weights. Whatever is lent here must be computed twice, or autograd keeps every copy.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial

import comfy.model_management
import torch
from comfy.model_patcher import ModelPatcher
from torch import Tensor, nn

from .weights import on_device, stored

VISITING: set[int] = set()  # the addresses of weights that are on the device for a call


def unload(patchers: Sequence[ModelPatcher]) -> None:
    """Whichever clones of these models are loaded."""
    manager, bases = comfy.model_management, [patcher.model for patcher in patchers]
    others = [
        one
        for one in manager.current_loaded_models
        if one.model is None or not any(one.model.model is base for base in bases)
    ]
    for device in {patcher.load_device for patcher in patchers}:
        manager.free_memory(math.inf, device, keep_loaded=others)


@contextmanager
def off_the_device(patcher: ModelPatcher) -> Iterator[None]:
    """Within, a model has all its patches where it lies while it is not loaded."""
    unload([patcher])
    try:
        patcher.patch_model(device_to=patcher.offload_device)
        yield
    finally:
        patcher.unpatch_model(patcher.offload_device)


@contextmanager
def lent(module: nn.Module) -> Iterator[None]:
    """Within, each part of a module has its weights for its calls where its input is. Not those of words: there are
    many, and few are looked up."""
    with ExitStack() as stack:
        for part in module.modules():
            if not isinstance(part, nn.Embedding) and any(one is not None for one in part._parameters.values()):
                stack.enter_context(wrapped(part, partial(with_weights, part)))
        yield


def with_weights(part: nn.Module, forward: Callable) -> Callable:
    def call(*inputs, **named):
        device = next((one.device for one in (*inputs, *named.values()) if isinstance(one, Tensor)), None)
        if device is None:  # a whole text encoder, of tokens in lists
            return forward(*inputs, **named)
        with placed([part], device) as copies:
            addresses = {one.untyped_storage().data_ptr() for copy in copies for one in stored(copy)}
            VISITING.update(addresses)
            try:
                return forward(*inputs, **named)
            finally:
                VISITING.difference_update(addresses)

    return call


@contextmanager
def placed(parts: Iterable[nn.Module], device: torch.device) -> Iterator[list[Tensor]]:
    """Within, parts of a model have copies of their own weights on a device, which it is given, where they lie on
    another."""
    replaced: list[tuple[dict, str, Tensor]] = []
    try:
        for part in parts:
            for own in (part._parameters, part._buffers):
                for name, weight in own.items():
                    if weight is not None and weight.device != device:
                        copy = on_device(weight, device)
                        replaced.append((own, name, weight))
                        own[name] = nn.Parameter(copy, requires_grad=False) if own is part._parameters else copy
        yield [own[name] for own, name, _ in replaced]
    finally:
        for own, name, weight in replaced:
            own[name] = weight


def outside(module: nn.Module, layers: Iterable[nn.Module]) -> list[nn.Module]:
    """The parts of a module that are in none of these layers."""
    inside = {part for layer in layers for part in layer.modules()}
    return [part for part in module.modules() if part not in inside]


def bytes_of(module: nn.Module) -> int:
    """Of its weights, as they are stored."""
    return sum(part.untyped_storage().nbytes() for weight in module.parameters() for part in stored(weight))


@contextmanager
def wrapped(layer: nn.Module, wrap: Callable[[Callable], Callable]) -> Iterator[None]:
    """Within, the layer computes wrap(its forward)."""
    own = layer.__dict__.get("forward")  # another pack's
    layer.forward = wrap(layer.forward)
    try:
        yield
    finally:
        del layer.forward
        if own is not None:
            layer.forward = own
