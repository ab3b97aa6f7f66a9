"""Lets gradients pass through the host's frozen models, and leaves the models as they were."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

import comfy.model_management
import torch
from comfy.model_patcher import ModelPatcher
from torch import Tensor, nn
from torch.utils import deterministic

from ..compat import told_that_it_trains
from .offload import lent, off_the_device
from .weights import alias, is_plain

MULTIPLIES = nn.Linear, nn.Conv2d
COMPUTED_IN = torch.float32, torch.float16, torch.bfloat16


@contextmanager
def differentiable(
    *patchers: ModelPatcher, dtype: torch.dtype | None = None, off: Sequence[ModelPatcher] = ()
) -> Iterator[None]:
    """Load models whole and let autograd run through them, though the host runs nodes in inference mode.

    dtype: what they compute in, see `frozen_weights`. off: those of them that stay off the device, and whose weights
    are lent to it, see `offload`. Inference tensors made outside (latents, conditionings) must be
    cloned inside to be used with gradients.
    """
    # In the host's own mode: what it replaces while it loads, it could not unload later if it were of another.
    with ExitStack() as stack:
        for patcher in off:
            stack.enter_context(off_the_device(patcher))
        comfy.model_management.load_models_gpu(
            [patcher for patcher in patchers if patcher not in off], force_full_load=True
        )
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        for patcher in patchers:
            stack.enter_context(frozen_weights(patcher.model, dtype))
        for patcher in off:
            stack.enter_context(lent(patcher.model))
        stack.enter_context(deterministic_algorithms())
        stack.enter_context(told_that_it_trains())
        yield


@contextmanager
def frozen_weights(module: nn.Module, dtype: torch.dtype | None = None) -> Iterator[None]:
    """Within, every weight is a normal tensor without gradient on the very storage it had.

    Weights that a loader node made are inference tensors, which autograd refuses, or ask for gradients. Those
    that the host has since moved to another device do not even tell any more, so all are replaced.

    dtype: of the inputs that layers will get. The host casts a layer's weights to it at each call, and autograd would
    keep every copy; so those that differ are cast once.
    """
    replaced: list[tuple[dict, str, Tensor]] = []
    try:
        for owner in module.modules():
            cast = dtype if isinstance(owner, MULTIPLIES) else None
            for name, weight in owner._parameters.items():
                if weight is not None:
                    replaced.append((owner._parameters, name, weight))
                    owner._parameters[name] = nn.Parameter(in_dtype(alias(weight), cast), requires_grad=False)
            for name, buffer in owner._buffers.items():
                if buffer is not None:
                    replaced.append((owner._buffers, name, buffer))
                    owner._buffers[name] = alias(buffer)
        yield
    finally:
        for tensors, name, original in replaced:
            tensors[name] = original


def in_dtype(weight: Tensor, dtype: torch.dtype | None) -> Tensor:
    """The weight in a precision to compute in; one in 8 bit or of its own kind needs its layer's care and stays."""
    return weight.to(dtype) if dtype and weight.dtype in COMPUTED_IN and is_plain(weight) else weight


def reads_out(module: nn.Module) -> bool:
    """Whether weights are read out at each call, in copies that autograd would keep."""
    layers = (layer for layer in module.modules() if isinstance(layer, MULTIPLIES))
    return not all(layer.weight.dtype in COMPUTED_IN and is_plain(layer.weight) for layer in layers)


@contextmanager
def deterministic_algorithms() -> Iterator[None]:
    """Same seed, same persona: on a GPU, some backward passes are otherwise summed in any order."""
    algorithms = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    fill = deterministic.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True, warn_only=True)
    deterministic.fill_uninitialized_memory = False  # takes time, and nothing here reads what it did not write
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(algorithms[0], warn_only=algorithms[1])
        deterministic.fill_uninitialized_memory = fill
