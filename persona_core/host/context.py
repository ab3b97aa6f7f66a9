"""An encoded prompt that keeps its table through what other nodes compute with conditionings.

Conditioning (Concat) and Conditioning (Average) join, cut, scale and add context tensors. What they make of a prompt
with a persona follows, at every t, from what they would make of its contexts at that t.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor

TRACKED = {
    torch.cat, torch.concat, Tensor.__getitem__, Tensor.clone, Tensor.to, Tensor.cpu, Tensor.cuda, Tensor.float,
    Tensor.half, torch.mul, Tensor.mul, Tensor.__mul__, Tensor.__rmul__, torch.add, Tensor.add, Tensor.__add__,
    Tensor.__radd__, torch.sub, Tensor.sub, Tensor.__sub__, Tensor.__rsub__, torch.div, Tensor.div,
    Tensor.__truediv__, torch.lerp, Tensor.lerp, Tensor.repeat, Tensor.expand, Tensor.narrow, torch.narrow,
}  # fmt: skip


class Table(Protocol):
    """Contexts over t. base: the context where no persona stands. placeholders: of the personas in it. constant:
    whether it is `base` at every t."""

    base: Tensor
    placeholders: frozenset[str]
    constant: bool

    def at(self, t: float) -> tuple[Tensor, Tensor]:
        """The contexts of K and of V at timestep t; both are `base` itself where no persona stands."""
        ...


class PersonaNotFollowed(RuntimeError):
    """A context with a table came to a layer: sampling gives the UNet plain tensors, so nobody follows that table."""

    def __init__(self, tables: Sequence[Table]):
        placeholders = " and ".join(sorted(frozenset().union(*(table.placeholders for table in tables))))
        super().__init__(
            f"Nothing follows the persona {placeholders} in this conditioning, so the common word would stand there: "
            "somebody else. Give the sampler the MODEL that comes out of Apply. If it has that, another node uses the "
            "conditioning in a way that a persona cannot follow: leave it out."
        )


class PersonaContext(Tensor):
    """A context tensor [1, L, D]: the table's base as anyone sees it, with the table."""

    table: Table

    @classmethod
    def of(cls, table: Table) -> "PersonaContext":
        # A copy: what another node does to it in place must not reach the table, which would then no longer differ.
        context = table.base.clone().as_subclass(cls)
        context.table = table
        return context

    def __deepcopy__(self, memo: dict) -> "PersonaContext":
        return self.of(self.table)

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        arguments = args, kwargs or {}
        if comes_to_a_layer(function, args):
            tables = [one.table for one in flat(arguments) if isinstance(one, cls)]
            if not all(table.constant for table in tables):
                raise PersonaNotFollowed(tables)
        with torch._C.DisableTorchFunctionSubclass():
            result = function(*arguments[0], **arguments[1])
        if function not in TRACKED:
            return result
        return cls.of(ComputedTable(function, arguments, result.as_subclass(Tensor)))


@dataclass(frozen=True, eq=False)
class ComputedTable:
    """The table of what a function of the host's or another node's made of contexts, some of them a PersonaContext."""

    function: Callable[..., Tensor]
    arguments: tuple[tuple, dict]
    base: Tensor

    @cached_property
    def sources(self) -> list[Table]:
        return list(dict.fromkeys(one.table for one in flat(self.arguments) if isinstance(one, PersonaContext)))

    @cached_property
    def constant(self) -> bool:
        return all(table.constant for table in self.sources)

    @cached_property
    def placeholders(self) -> frozenset[str]:
        return frozenset().union(*(table.placeholders for table in self.sources))

    def at(self, t: float) -> tuple[Tensor, Tensor]:
        contexts = {id(table): table.at(t) for table in self.sources}
        if all(contexts[id(table)][0] is table.base for table in self.sources):
            return self.base, self.base
        sides = []
        for side in (0, 1):
            args, kwargs = replaced(self.arguments, lambda context: contexts[id(context.table)][side])  # noqa: B023
            sides.append(self.function(*args, **kwargs))
        return tuple(sides)


def comes_to_a_layer(function: Callable, args: tuple) -> bool:
    """Whether the host does this to a context that comes to the UNet: the first layer, or before it a cast to another
    precision or device."""
    if function is not Tensor.copy_:
        return function is torch.nn.functional.linear
    target, source = args[:2]
    return (target.dtype, target.device) != (source.dtype, source.device)


def flat(value: object) -> list:
    """All that lies in nested lists, tuples and dicts."""
    if isinstance(value, Mapping):
        value = list(value.values())
    return [one for part in value for one in flat(part)] if isinstance(value, (list, tuple)) else [value]


def replaced(value: object, of: Callable[[PersonaContext], Tensor]):
    """The same nested lists, tuples and dicts with something else for each PersonaContext."""
    if isinstance(value, PersonaContext):
        return of(value)
    if isinstance(value, Mapping):
        return {name: replaced(one, of) for name, one in value.items()}
    return type(value)(replaced(one, of) for one in value) if isinstance(value, (list, tuple)) else value
