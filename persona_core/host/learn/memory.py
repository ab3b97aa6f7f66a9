"""Learning in the memory there is: what a step keeps for its backward pass, and what is computed twice instead."""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType

import comfy.model_management
import numpy as np
import torch
from comfy.ldm.cosmos.predict2 import Block as CrossTransformerBlock
from comfy.ldm.lumina.model import JointTransformerBlock
from comfy.ldm.modules.attention import BasicTransformerBlock
from comfy.ldm.modules.diffusionmodules.openaimodel import ResBlock
from comfy.model_patcher import ModelPatcher
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.nn.functional import interpolate
from torch.utils.checkpoint import checkpoint

from ...batch import sample_batch
from ...passes import forward
from ...task import References, TrainingTask
from .attention import attention_in_pieces
from .offload import VISITING, bytes_of, outside, placed, unload, wrapped
from .weights import stored

REST = None  # what is kept outside of the layers
NOTHING: Mapping = MappingProxyType({})
LAYERS = ResBlock, BasicTransformerBlock, JointTransformerBlock, CrossTransformerBlock
PROBED = 8, 16, 24  # a side of the latents that a step is tried with
# How devices say it that have no error of a kind of its own: MPS, DirectML, XPU, cuBLAS, and the CPU.
NO_MEMORY = "out of memory", "out_of_device_memory", "alloc_failed", "t allocate", "not allocate", "tried to allocate"


@dataclass(frozen=True)
class Fit:
    """How a step is made to fit. micro_batch: rows at once. checkpointed: the layers that are computed again in the
    backward pass, instead of keeping all that they computed. lent: those of them whose weights stay off the device."""

    micro_batch: int
    checkpointed: frozenset[nn.Module]
    lent: frozenset[nn.Module] = frozenset()


class NoRoom(MemoryError):
    """Learning would not fit, and has another way to go."""


def layers_of(diffusion_model: nn.Module) -> list[nn.Module]:
    """The layers of a UNet or a transformer that are kept or computed twice as a whole."""
    return [layer for layer in diffusion_model.modules() if isinstance(layer, LAYERS)]


def layers_to_checkpoint(diffusion_model: nn.Module, device: torch.device) -> list[nn.Module]:
    """Those that can be computed twice."""
    return layers_of(diffusion_model) if can_checkpoint(device) else []


def can_checkpoint(device: torch.device) -> bool:
    """Whether torch's checkpointing knows the device; it does not know DirectML's.

    What it asks for in the backward pass is asked for here: some devices' threads end the process where it fails.
    """
    kind = device.type
    try:
        getattr(torch, kind)
        if torch.amp.is_autocast_available(kind):
            torch.autocast(kind, torch.get_autocast_dtype(kind), enabled=False)
    except (AttributeError, AssertionError, RuntimeError):
        return False
    return True


@contextmanager
def gradient_checkpointing(layers: Iterable[nn.Module]) -> Iterator[None]:
    """Within, these layers keep nothing but their inputs for the backward pass, which computes them once more
    (activation checkpointing)."""
    with ExitStack() as stack:
        for layer in layers:
            stack.enter_context(wrapped(layer, checkpointed))
        yield


def checkpointed(forward: Callable) -> Callable:
    def call(*inputs, **named):
        # The host writes into its options where it is, and by the time of the second time it is elsewhere.
        inputs = tuple(dict(one) if isinstance(one, dict) else one for one in inputs)
        named = {name: dict(one) if isinstance(one, dict) else one for name, one in named.items()}
        return checkpoint(forward, *inputs, use_reentrant=False, preserve_rng_state=False, **named)

    return call


def ways_to_load(patchers: Sequence[ModelPatcher]) -> list[list[ModelPatcher]]:
    """Which models stay off the device, in each of the ways to try one after the other: none of them where all may fit,
    and then all that can."""
    manager = comfy.model_management
    off = [one for one in patchers if one.load_device != one.offload_device and can_checkpoint(one.load_device)]
    if manager.vram_state == manager.VRAMState.SHARED:  # the device's memory is the CPU's
        off = []
    for device in {patcher.load_device for patcher in off}:
        loaded = [one.model_loaded_memory() for one in manager.current_loaded_models if one.device == device]
        there = manager.get_free_memory(device) + sum(loaded) - manager.minimum_inference_memory()
        if sum(patcher.model_size() for patcher in patchers if patcher.load_device == device) > there:
            return [off]
    return [[], off] if off else [[]]


def fit_into_memory(
    task: TrainingTask,
    patchers: Sequence[ModelPatcher],
    off: Sequence[ModelPatcher] = (),
    last: bool = True,
    people: int = 1,
) -> tuple[Fit, float]:
    """How a step is made to fit beside what is loaded of the models of these patchers, and the bytes it may use.

    off: those of them that stay off the device. people: as many tasks alike whose steps may be one pass. Raises NoRoom
    where it does not fit, and this is not the last way.
    """
    denoiser, rows = task.denoiser, task.settings.batch_size
    device, layers = denoiser.device, layers_to_checkpoint(denoiser.diffusion_model, denoiser.device)
    if not off and people * rows * math.prod(task.references.latents.shape[-2:]) <= max(PROBED) ** 2:
        return Fit(people * rows, frozenset()), room_for(0, patchers, device)  # finding out would take as much
    weights = [weight for patcher in patchers for weight in patcher.model.parameters()]
    sizes = {layer: bytes_of(layer) for layer in layers} if denoiser.patcher in off else {}
    kept = None
    with placed(outside(denoiser.patcher.model, sizes) if sizes else (), device):
        try:
            kept = saved_by_row(task, weights)
        except Exception as error:
            if not out_of_memory(error):
                raise
        # Not where the error is, which holds on to all that was computed.
        wanted = math.inf if kept is None else people * rows * sum(kept.values()) + sum(sizes.values())
        room = room_for(wanted, patchers, device)
    if kept is not None and not layers:
        kept = {REST: sum(kept.values())}
    fitted = smallest(layers, sizes) if kept is None else fit(kept, rows, room, sizes, people)
    if not last and (kept is None or needed(kept, fitted, sizes) > room):
        raise NoRoom("A step does not fit beside the models.")
    return fitted, room


def saved_by_row(task: TrainingTask, weights: Iterable[Tensor]) -> dict[nn.Module | None, float]:
    """Bytes that autograd keeps of one row of a step, by layer and for the REST: told from steps on small copies of the
    latents. weights: they are there anyway."""
    degree = 2 if task.denoiser.attention is attention_in_pieces else 1
    return scaled(small_steps(task, weights), math.prod(task.references.latents.shape[-2:]), degree)


def small_steps(task: TrainingTask, weights: Iterable[Tensor]) -> list[Counter]:
    """The same of one row of latents of each PROBED side, always with the longest prompt: with texts of other lengths
    they would not be in a line."""
    tensors, layers = (task.references.latents, task.references.masks), layers_of(task.denoiser.diffusion_model)
    prompts, rich = (sorted(those, key=len)[-1:] for those in (task.objective.prompts, task.objective.rich))
    objective = replace(task.objective, prompts=prompts, rich=rich)
    one, counts = replace(task, settings=replace(task.settings, batch_size=1), objective=objective), []
    for side in PROBED:
        small = References(*(interpolate(tensor, (side, side), mode="area") for tensor in tensors))
        counts.append(kept_by(partial(first_terms, replace(one, references=small)), layers, weights))
    return counts


def first_terms(task: TrainingTask) -> list[Tensor]:
    """The loss terms of a task's first step."""
    step = forward(task, sample_batch(task, 0))
    return [term(step) for term in task.objective.terms.values()]


def kept_by(step: Callable[[], object], layers: Sequence[nn.Module], weights: Iterable[Tensor]) -> Counter:
    """Bytes that autograd keeps of whatever `step` computes, by layer and for the REST; then it cannot be run back."""
    there = {tensor.untyped_storage().data_ptr() for weight in weights for tensor in stored(weight)}
    known: dict[int, StorageWeakRef] = {}  # by their addresses, which others get once these are gone
    kept, inside = Counter(dict.fromkeys([REST, *layers], 0)), [REST]

    def count(tensor: Tensor) -> None:
        for part in stored(tensor):
            storage = part.untyped_storage()
            address = storage.data_ptr()
            if address in there or address in VISITING or (address in known and not known[address].expired()):
                continue
            known[address] = StorageWeakRef(storage)
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


def fit(
    kept: Mapping[nn.Module | None, float],
    rows: int,
    room: float,
    sizes: Mapping[nn.Module, float] = NOTHING,
    people: int = 1,
) -> Fit:
    """The fastest way to fit steps of so many rows for each of so many people. kept: bytes of one row, by layer and for
    the REST. room: bytes. sizes: of the weights of layers that may stay off the device; on it they need room, too.

    Layers are computed twice, those that keep most first, until the rest has room; a layer that is computed twice needs
    its own bytes once, while it is. If all are and it is still too much, fewer rows go at once. If that is too much,
    layers stay off the device: as few as can be, and all rows at once, because each part of a step brings them anew.
    """
    layers = sorted((key for key in kept if key is not REST), key=kept.get, reverse=True)
    large = sorted(sizes, key=sizes.get, reverse=True)
    # More people in a pass spare less time than a second computation costs.
    beside = [Fit(rows * count, frozenset()) for count in range(people, 1, -1)]
    batches = [rows >> halvings for halvings in range(rows.bit_length())]
    twice = [Fit(batch, frozenset(layers[:count])) for batch in batches for count in range(len(layers) + 1)]
    lent = [
        Fit(batch, frozenset(layers), frozenset(large[:count]))
        for batch in batches
        for count in range(1, 1 + len(large))
    ]
    fitting = (fitted for fitted in beside + twice + lent if needed(kept, fitted, sizes) <= room)
    return next(fitting, smallest(layers, sizes))


def needed(kept: Mapping[nn.Module | None, float], fitted: Fit, sizes: Mapping[nn.Module, float] = NOTHING) -> float:
    """Bytes of a step, from those that one row keeps; layers computed twice have theirs one after the other, and so
    have those that are lent their weights."""
    twice, lent = [kept[layer] for layer in fitted.checkpointed], [sizes[layer] for layer in fitted.lent]
    weights = sum(sizes.values()) - sum(lent) + max(lent, default=0.0)
    return fitted.micro_batch * (sum(kept.values()) - sum(twice) + max(twice, default=0.0)) + weights


def smallest(layers: Iterable[nn.Module], lent: Iterable[nn.Module] = ()) -> Fit:
    """What needs least. lent: those whose weights can stay off the device."""
    return Fit(1, frozenset(layers), frozenset(lent))


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
        unload([patcher for patcher in patchers if any(patcher.model is base for base in ours)])
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
