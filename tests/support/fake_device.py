"""A pretended GPU: torch's own tensors on a device `fakegpu`, whose memory is the CPU's.

torch (2.9 and newer) lets Python define a device. Its tensors know where they are, autograd runs through them, and what
raises on CUDA raises here: an operation on tensors of both devices, a generator of the other device. So a `.to(device)`
that was forgotten is found without a GPU. It computes what the CPU computes. What it lacks: streams, autocast.
"""

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.backend_registration import (
    _DummyBackendModule,
    _setup_privateuseone_for_python_backend,
)

NAME = "fakegpu"
CPU_NUMBER, OUR_NUMBER = 1, 12  # DLPack's, of the CPU and of a device that is none of its own
DEVICE_TYPE = 8  # bytes before the device's number in what DLPack hands over
# Operations that may take tensors of both devices on CUDA too: those that copy, and those that take numbers of places.
COPIES = {"aten::copy_", "aten::_copy_from", "aten::_copy_from_and_resize"}
INDEXED = {"aten::index", "aten::index_put_", "aten::_index_put_impl_"}

aten = torch.ops.aten
pointer_in = ctypes.pythonapi.PyCapsule_GetPointer
pointer_in.restype, pointer_in.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)


@dataclass
class Settings:
    """What the device is like. refuses: the dtypes that it cannot hold, as MPS cannot hold float64. fails_after: so
    many tensors made on it it runs out of memory, once; None: never. made: so many it has. random: its own generator
    draws other numbers than the CPU's from the same seed."""

    refuses: frozenset[torch.dtype] = frozenset()
    fails_after: int | None = None
    made: int = 0
    random: torch.Generator = torch.Generator().manual_seed(123)


device = Settings()


@contextmanager
def behaving(**changes: object) -> Iterator[Settings]:
    """Within, the device is so."""
    before = dict(device.__dict__)
    device.__dict__.update(changes, made=0)
    try:
        yield device
    finally:
        device.__dict__.update(before)


def is_ours(value: object) -> bool:
    return isinstance(value, Tensor) and value.device.type == NAME


def handed_over(tensor: Tensor, number: int) -> Tensor:
    """A tensor of the other device on the same memory."""
    capsule = torch._C._to_dlpack(tensor)
    ctypes.c_int32.from_address(pointer_in(capsule, b"dltensor") + DEVICE_TYPE).value = number
    return torch._C._from_dlpack(capsule)


def on_cpu(value: object) -> object:
    return handed_over(value, CPU_NUMBER) if is_ours(value) else value


def on_device(value: object) -> object:
    if not isinstance(value, Tensor):
        return value
    if value.dtype in device.refuses:
        raise TypeError(f"Cannot convert a tensor to {NAME}: it does not hold {value.dtype}.")
    return handed_over(value, OUR_NUMBER)


def run(operation: torch._ops.OpOverload, *args: object, **kwargs: object) -> object:
    """Whatever operation torch calls with a tensor of the device, or to make one."""
    schema, leaves = operation._schema, tree_leaves((args, kwargs))
    check_devices(operation, [one for one in leaves if isinstance(one, Tensor)])
    if makes_tensors(schema):
        device.made += 1
        if device.made - 1 == device.fails_after:
            raise torch.OutOfMemoryError(f"{NAME} out of memory. Tried to allocate 2.00 GiB.")
    if any(argument.name == "generator" for argument in schema.arguments):
        check_generator(kwargs.setdefault("generator", None))
        kwargs["generator"] = device.random
    if "device" in kwargs:
        kwargs["device"] = torch.device("cpu")
    arguments, named = tree_map(on_cpu, ([as_tensor(*pair) for pair in zip(schema.arguments, args)], kwargs))
    # What torch gives as a result's place without a size must be able to get one.
    unsized = [one.name for one in schema.arguments if one.is_out and not kwargs[one.name].numel()]
    named |= {name: torch.empty(0, dtype=kwargs[name].dtype) for name in unsized}
    result = INSTEAD.get(operation, operation)(*arguments, **named)
    for name in unsized:
        kwargs[name].data = on_device(named[name])
    if not schema.is_mutable:
        return tree_map(on_device, result)
    values = [*args, *(kwargs.get(one.name) for one in schema.arguments[len(args) :])]
    written = [value for one, value in zip(schema.arguments, values) if one.is_write]
    return None if not schema.returns else written[0] if len(schema.returns) == 1 else tuple(written)


def makes_tensors(schema: torch._C.FunctionSchema) -> bool:
    """Whether an operation needs memory for its results: views, numbers, and what it writes into need none."""
    new = [one for one in schema.returns if one.alias_info is None and "Tensor" in str(one.type)]
    return bool(new) and schema.name not in COPIES


def as_tensor(argument: torch._C.Argument, value: object) -> object:
    """A number where the operation takes a tensor, which torch hands over as a plain one."""
    number = isinstance(value, (int, float)) and str(argument.type) == "Tensor"
    return torch.tensor(value) if number else value


def check_devices(operation: torch._ops.OpOverload, tensors: list[Tensor]) -> None:
    """Raise RuntimeError where CUDA does."""
    name, first = operation._schema.name, is_ours(tensors[0]) if tensors else True
    if name in COPIES or (name in INDEXED and first):
        return
    # A number may be on the CPU in what is computed number by number.
    single = torch.Tag.pointwise in operation.tags
    strangers = [one for one in tensors if not is_ours(one) and not (single and not one.ndim)]
    if strangers:
        raise RuntimeError(f"Expected all tensors to be on the same device, but {name} found {NAME}:0 and cpu!")


def check_generator(generator: torch.Generator | None) -> None:
    if generator is not None:
        raise RuntimeError(f"Expected a '{NAME}' device type for generator but found '{generator.device.type}'")


def copied(source: Tensor, target: Tensor, non_blocking: bool = False) -> Tensor:
    return target.copy_(source)


def resize(tensor: Tensor, size: list[int], memory_format: torch.memory_format | None = None) -> Tensor:
    """`Tensor.resize_`, which here never grows what has something in it."""
    if torch.Size(size).numel() <= tensor.numel():
        return run(aten.resize_.default, tensor, size)
    assert not tensor.numel()
    tensor.data = on_device(torch.empty(size, dtype=tensor.dtype))
    return tensor


def set_to(
    tensor: Tensor, storage: torch.UntypedStorage, offset: int, size: list[int], stride: list[int] = ()
) -> Tensor:
    """`Tensor.set_`: another tensor's memory."""
    memory = (ctypes.c_ubyte * storage.nbytes()).from_address(storage.data_ptr())
    memory.owner = storage  # which then lives as long
    there = torch.frombuffer(memory, dtype=torch.uint8).untyped_storage()
    tensor.data = on_device(torch.empty(0, dtype=tensor.dtype).set_(there, offset, size, stride))
    return tensor


# What torch calls on a device that it does not know, where the CPU has a name of its own for it.
INSTEAD: dict[torch._ops.OpOverload, Callable] = {
    aten._copy_from.default: copied,
    aten.convolution_overrideable.default: aten.convolution.default,
    aten.convolution_backward_overrideable.default: (
        lambda gradient, x, weight, *rest, **named: aten.convolution_backward(gradient, x, weight, None, *rest, **named)
    ),
}


class Module(_DummyBackendModule):
    """`torch.fakegpu`, with what `torch.random.fork_rng` and gradient checkpointing ask for."""

    def get_rng_state(self, which: object = None) -> Tensor:
        return device.random.get_state()

    def set_rng_state(self, state: Tensor, which: object = None) -> None:
        device.random.set_state(state)

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.float16, torch.bfloat16]


_setup_privateuseone_for_python_backend(NAME, Module())
library = torch.library.Library("_", "IMPL")
library.fallback(run, "PrivateUse1")
kernels = torch.library.Library("aten", "IMPL")
for overrideable in (aten.convolution_overrideable, aten.convolution_backward_overrideable):
    kernels.impl(overrideable.default, partial(run, overrideable.default), "PrivateUse1")
kernels.impl("resize_", resize, "PrivateUse1")
kernels.impl("set_.source_Storage_storage_offset", set_to, "PrivateUse1")
DEVICE = torch.device(NAME, 0)
