"""Learning in the memory there is: what a step keeps for its backward pass, and what is computed twice instead."""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial

import comfy.model_management
import numpy as np
import torch
from comfy.ldm.cosmos.predict2 import Block as CrossTransformerBlock
from comfy.ldm.lumina.model import JointTransformerBlock
from comfy.ldm.modules.attention import BasicTransformerBlock
from comfy.ldm.modules.diffusionmodules.openaimodel import ResBlock
from comfy.model_patcher import ModelPatcher
from torch import Tensor, nn
from torch.nn.functional import interpolate
from torch.utils.checkpoint import checkpoint

from ... import training
from ...task import References, TrainingTask
from .attention import attention_in_pieces
from .weights import stored

REST = None  # what is kept outside of the layers
LAYERS = ResBlock, BasicTransformerBlock, JointTransformerBlock, CrossTransformerBlock
PROBED = 8, 16, 24  # a side of the latents that a step is tried with
# How devices say it that have no error of a kind of its own: MPS, DirectML, XPU, cuBLAS, and the CPU.
NO_MEMORY = "out of memory", "out_of_device_memory", "alloc_failed", "t allocate", "not allocate", "tried to allocate"


@dataclass(frozen=True)
class Fit:
    """How a step is made to fit. micro_batch: rows at once. checkpointed: the layers that are computed again in the
    backward pass, instead of keeping all that they computed."""

    micro_batch: int
    checkpointed: frozenset[nn.Module]


def layers_of(diffusion_model: nn.Module) -> list[nn.Module]:
    """The layers of a UNet or a transformer that are kept or computed twice as a whole."""
    return [layer for layer in diffusion_model.modules() if isinstance(layer, LAYERS)]


def layers_to_checkpoint(diffusion_model: nn.Module, device: torch.device) -> list[nn.Module]:
    """Those that can be computed twice: none where torch's checkpointing does not know the device, as DirectML's.

    What that asks for in the backward pass is asked for here: some devices' threads end the process where it fails.
    """
    kind = device.type
    try:
        getattr(torch, kind)
        if torch.amp.is_autocast_available(kind):
            torch.autocast(kind, torch.get_autocast_dtype(kind), enabled=False)
    except (AttributeError, AssertionError, RuntimeError):
        return []
    return layers_of(diffusion_model)


@contextmanager
def gradient_checkpointing(layers: Iterable[nn.Module]) -> Iterator[None]:
    """Within, these layers keep nothing but their inputs for the backward pass, which computes them once more
    (activation checkpointing)."""
    with ExitStack() as stack:
        for layer in layers:
            stack.enter_context(wrapped(layer, checkpointed))
        yield


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


def checkpointed(forward: Callable) -> Callable:
    def call(*inputs, **named):
        # The host writes into its options where it is, and by the time of the second time it is elsewhere.
        inputs = tuple(dict(one) if isinstance(one, dict) else one for one in inputs)
        named = {name: dict(one) if isinstance(one, dict) else one for name, one in named.items()}
        return checkpoint(forward, *inputs, use_reentrant=False, preserve_rng_state=False, **named)

    return call


def fit_into_memory(task: TrainingTask, patchers: Sequence[ModelPatcher]) -> tuple[Fit, float]:
    """How a step is made to fit beside the models of these patchers, which are loaded, and the bytes it may use."""
    rows, device = task.settings.batch_size, task.denoiser.device
    if rows * math.prod(task.references.latents.shape[-2:]) <= max(PROBED) ** 2:  # finding out would take as much
        return Fit(rows, frozenset()), room_for(0, patchers, device)
    weights = [weight for patcher in patchers for weight in patcher.model.parameters()]
    kept = None
    try:
        kept = saved_by_row(task, weights)
    except Exception as error:
        if not out_of_memory(error):
            raise
    layers = layers_to_checkpoint(task.denoiser.diffusion_model, device)
    if kept is None:  # not where the error is, which holds on to all that was computed
        return smallest(layers), room_for(math.inf, patchers, device)
    room = room_for(rows * sum(kept.values()), patchers, device)
    return fit(kept if layers else {REST: sum(kept.values())}, rows, room), room


def saved_by_row(task: TrainingTask, weights: Iterable[Tensor]) -> dict[nn.Module | None, float]:
    """Bytes that autograd keeps of one row of a step, by layer and for the REST: told from steps on small copies of the
    latents. weights: they are there anyway."""
    tensors, layers = (task.references.latents, task.references.masks), layers_of(task.denoiser.diffusion_model)
    one, counts = replace(task, settings=replace(task.settings, batch_size=1)), []
    for side in PROBED:
        small = References(*(interpolate(tensor, (side, side), mode="area") for tensor in tensors))
        counts.append(kept_by(partial(first_terms, replace(one, references=small)), layers, weights))
    degree = 2 if task.denoiser.attention is attention_in_pieces else 1
    return scaled(counts, math.prod(task.references.latents.shape[-2:]), degree)


def first_terms(task: TrainingTask) -> list[Tensor]:
    """The loss terms of a task's first step."""
    step = training.forward(task, training.sample_batch(task, 0))
    return [term(step) for term in task.objective.terms.values()]


def kept_by(step: Callable[[], object], layers: Sequence[nn.Module], weights: Iterable[Tensor]) -> Counter:
    """Bytes that autograd keeps of whatever `step` computes, by layer and for the REST; then it cannot be run back."""
    known = {tensor.untyped_storage().data_ptr() for weight in weights for tensor in stored(weight)}
    alive: list[torch.UntypedStorage] = []  # or another tensor might get the place of one that was counted
    kept, inside = Counter(dict.fromkeys([REST, *layers], 0)), [REST]

    def count(tensor: Tensor) -> None:
        for part in stored(tensor):
            storage = part.untyped_storage()
            if storage.data_ptr() not in known:
                known.add(storage.data_ptr())
                alive.append(storage)
                kept[inside[-1]] += storage.nbytes()
        # Not the tensor: it keeps what computed it, which would keep it, and neither would ever go.

    def inside_of(layer: nn.Module) -> Callable[[Callable], Callable]:
        def wrap(forward: Callable) -> Callable:
            def call(*inputs, **named):
                inside.append(layer)
                try:
                    return forward(*inputs, **named)
                finally:
                    inside.pop()

            return call

        return wrap

    with ExitStack() as stack:
        for layer in layers:
            stack.enter_context(wrapped(layer, inside_of(layer)))
        stack.enter_context(torch.autograd.graph.saved_tensors_hooks(count, lambda nothing: nothing))
        step()
    return kept


def scaled(counts: Sequence[Mapping], cells: int, degree: int) -> dict:
    """What is kept of latents of so many cells, from what is kept of the PROBED ones: it grows in a straight line, but
    where attention keeps its probabilities, these grow with the square."""
    keys = list(counts[0])
    curves = np.polyfit([side**2 for side in PROBED], [[count[key] for key in keys] for count in counts], degree)
    return dict(zip(keys, np.polyval(curves, cells).clip(0)))


def fit(kept: Mapping[nn.Module | None, float], rows: int, room: float) -> Fit:
    """The fastest way to fit a step of so many rows. kept: bytes of one row, by layer and for the REST. room: bytes.

    Layers are computed twice, those that keep most first, until the rest has room; a layer that is computed twice needs
    its own bytes once, while it is. If all are and it is still too much, fewer rows go at once.
    """
    layers = sorted((key for key in kept if key is not REST), key=kept.get, reverse=True)
    for micro_batch in (rows >> halvings for halvings in range(rows.bit_length())):
        for count in range(len(layers) + 1):
            fitted = Fit(micro_batch, frozenset(layers[:count]))
            if needed(kept, fitted) <= room:
                return fitted
    return smallest(layers)


def needed(kept: Mapping[nn.Module | None, float], fitted: Fit) -> float:
    """Bytes of a step, from those that one row keeps; layers computed twice have theirs one after the other."""
    twice = [kept[layer] for layer in fitted.checkpointed]
    return fitted.micro_batch * (sum(kept.values()) - sum(twice) + max(twice, default=0.0))


def smallest(layers: Iterable[nn.Module]) -> Fit:
    """What needs least."""
    return Fit(1, frozenset(layers))


def room_for(wanted: float, patchers: Iterable[ModelPatcher], device: torch.device) -> float:
    """How many bytes learning may use beside the models, which are loaded: what is free, but for what the host itself
    leaves free for others. Where less than `wanted` is, the host first unloads other models."""
    manager = comfy.model_management
    reserve = manager.minimum_inference_memory()
    if not manager.is_device_cpu(device):  # there, unloading frees nothing
        ours = [one for one in manager.current_loaded_models if any(one.model is patcher for patcher in patchers)]
        manager.free_memory(wanted + reserve, device, keep_loaded=ours)
    return manager.get_free_memory(device) - reserve


@contextmanager
def unloaded_after(*patchers: ModelPatcher) -> Iterator[None]:
    """Models that were not loaded before are not loaded after; nor halfway, where memory ended while they were."""
    before = [one for one in comfy.model_management.current_loaded_models if one.model is not None]
    bases = [patcher.model for patcher in patchers]
    ours = [base for base in bases if not any(one.model.model is base for one in before)]
    try:
        yield
    finally:
        loaded = comfy.model_management.current_loaded_models
        others = [one for one in loaded if one.model is None or not any(one.model.model is base for base in ours)]
        for device in {patcher.load_device for patcher in patchers}:
            comfy.model_management.free_memory(math.inf, device, keep_loaded=others)
        known = [one.model.model for one in comfy.model_management.current_loaded_models if one.model is not None]
        for patcher in patchers:
            if not any(patcher.model is base for base in known) and strays(patcher):
                patcher.detach()


def strays(patcher: ModelPatcher) -> bool:
    """Whether weights lie elsewhere than they do while a model is not loaded."""
    return any(weight.device != patcher.offload_device for weight in patcher.model.parameters())


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory is used up."""
    kinds = comfy.model_management.OOM_EXCEPTION, getattr(torch, "OutOfMemoryError", MemoryError), MemoryError
    said = str(error).lower() if isinstance(error, RuntimeError) else ""
    return isinstance(error, kinds) or any(one in said for one in NO_MEMORY)
