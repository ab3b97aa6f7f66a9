"""An encoded prompt that keeps its table through what other nodes compute with conditionings.

They join, cut, scale, add and weigh context tensors. What they make of a prompt with a persona follows, at every t,
from what they would make of its contexts at that t.
"""

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from ...stages import GRID, TIMESTEPS
from ...table import Place
from ..tokenizer import flat

FOLLOWING = ContextVar("following", default=False)  # whether a sampler follows the tables of its conditionings
MOVED = 0.1  # of the largest change: a smaller one is not of a persona's token, but of what is computed of all
IN_PLACE = {"__setitem__", "__iadd__", "__isub__", "__imul__", "__itruediv__", "__ipow__"}


class Table(Protocol):
    """Contexts over t. base: the context where no persona stands. placeholders: of the personas in it. constant:
    whether it is `base` at every t, and no place is to be kept."""

    base: Tensor
    placeholders: frozenset[str]
    constant: bool

    def at(self, t: float) -> tuple[Tensor, Tensor]:
        """The contexts of K and of V at timestep t; both are `base` itself where no persona stands."""
        ...

    def places_at(self, t: float) -> Sequence[Place]:
        """Of the personas that stand at timestep t and are kept to a place."""
        ...


class PersonaNotFollowed(RuntimeError):
    """A context with a table came to a layer: sampling gives the UNet plain tensors, so nobody follows that table."""

    def __init__(self, tables: Sequence[Table]):
        placeholders = " and ".join(sorted(frozenset().union(*(table.placeholders for table in tables))))
        what_to_do = (
            "A node puts the conditioning into the model's layers in a way that a persona cannot follow: leave it out."
            if FOLLOWING.get()
            else "Give the sampler the MODEL that comes out of Apply."
        )
        super().__init__(
            f"Nothing follows the persona {placeholders} in this conditioning, so the common word would stand there: "
            f"somebody else. {what_to_do}"
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
        if function is Tensor.__iter__:
            return iter(args[0].unbind(0))
        recorded = replaced(arguments, Recorded.of)
        to_a_layer, changed = comes_to_a_layer(function, args), changed_in_place(function, args)
        # What packs fuse with the features of a picture (PhotoMaker) are single tokens [n, D].
        if to_a_layer and args[0].ndim == 3 and not all(table.constant for table in tables_in(recorded)):
            raise PersonaNotFollowed(tables_in(recorded))
        if function is Tensor.numpy and not args[0].table.constant:
            return numbers_of(args[0])
        with torch._C.DisableTorchFunctionSubclass():
            result = function(*arguments[0], **arguments[1])
            if to_a_layer or function is Tensor.as_subclass:
                return result
            if changed is None:
                return followed(function, recorded, result)
            if isinstance(changed, cls):
                changed.table = ComputedTable(function, recorded, changed.as_subclass(Tensor).clone())
            return result


def numbers_of(context: PersonaContext) -> np.ndarray:
    """The numbers of a context, four of them rounded another way, which ones depends on what it is at other t.

    Packs tell by them whether a prompt is another than the last time, and the base is the common word's for everyone.
    """
    with torch._C.DisableTorchFunctionSubclass():
        numbers = context.as_subclass(Tensor).clone()
        digest = hashlib.sha256()
        for t in range(0, TIMESTEPS, GRID):
            places = [side for place in context.table.places_at(float(t)) for side in (place.mask, place.tokens)]
            for side in (*context.table.at(float(t)), *places):
                digest.update(side.as_subclass(Tensor).detach().cpu().float().numpy().tobytes())
        values = numbers.view(-1)
        places = np.frombuffer(digest.digest(), dtype=np.uint64) % values.numel()
        values[places] = torch.nextafter(values[places], torch.tensor(math.inf, dtype=values.dtype))
        return numbers.numpy()


@dataclass(frozen=True, eq=False)
class Recorded:
    """What a tensor was when a function was given it; it may be written into later. value: a plain one, or a Table."""

    value: "Tensor | Table"

    @classmethod
    def of(cls, tensor: Tensor) -> "Recorded":
        return cls(tensor.table if isinstance(tensor, PersonaContext) else tensor.detach().clone())


@dataclass(frozen=True, eq=False)
class FixedTable:
    """The table of what other nodes make in the shape of a context, to write contexts into."""

    base: Tensor
    placeholders: frozenset[str] = frozenset()
    constant: bool = True

    def at(self, t: float) -> tuple[Tensor, Tensor]:
        return self.base, self.base

    def places_at(self, t: float) -> Sequence[Place]:
        return ()


@dataclass(frozen=True, eq=False)
class ComputedTable:
    """The table of what a function of torch made of contexts, some of them a PersonaContext.

    part: which of its results it is, where it has several.
    """

    function: Callable
    arguments: tuple[tuple, dict]
    base: Tensor
    part: int | None = None

    @cached_property
    def sources(self) -> list[Table]:
        return tables_in(self.arguments)

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

        def on(side: int) -> Tensor:
            then = lambda one: one.value if isinstance(one.value, Tensor) else contexts[id(one.value)][side]  # noqa: E731
            return self.made_of(*replaced(self.arguments, then))

        return on(0), on(1)

    def places_at(self, t: float) -> Sequence[Place]:
        """Where the tokens are that were in prompts: where the functions make another thing of contexts in which they
        are other ones."""
        places = tuple((prompt, place) for prompt in self.prompts for place in prompt.places_at(t))
        if places not in self.known:  # most steps have those of the last: what is made of them is then the same, too
            self.known[places] = self.places_of(places) if self.base.ndim > 1 else []
        return self.known[places]

    @cached_property
    def known(self) -> dict[tuple, list[Place]]:
        return {}

    def places_of(self, places: Sequence[tuple[Table, Place]]) -> list[Place]:
        found: dict[Tensor, Tensor] = {}
        for prompt, place in places:
            change = (self.moved(prompt, place) - self.base).abs().reshape(-1, *self.base.shape[-2:]).amax(2)
            tokens = (change > MOVED * change.max()).float()
            found[place.mask] = torch.maximum(tokens, found.get(place.mask, tokens))
        return [Place(mask, tokens) for mask, tokens in found.items()]

    @cached_property
    def prompts(self) -> list[Table]:
        """The tables of prompts that it was computed from, however many functions ago."""
        found = [one.prompts if isinstance(one, ComputedTable) else [one] for one in self.sources]
        return list(dict.fromkeys(table for tables in found for table in tables))

    def moved(self, prompt: Table, place: Place) -> Tensor:
        """What it would be if a persona's tokens in one of its prompts were other ones."""
        return self.made_of(*replaced(self.arguments, partial(with_tokens, prompt=prompt, place=place)))

    def made_of(self, args: tuple, kwargs: dict) -> Tensor:
        if changed_in_place(self.function, args) is not None:
            args = (args[0].clone(), *args[1:])
            self.function(*args, **kwargs)
            return args[0]
        result = self.function(*args, **kwargs)
        return result if self.part is None else result[self.part]


def with_tokens(one: Recorded, prompt: Table, place: Place) -> Tensor:
    """What a tensor was, with a persona's tokens in a prompt moved, each number by another amount."""
    if isinstance(one.value, Tensor):
        return one.value
    if isinstance(one.value, ComputedTable):
        return one.value.moved(prompt, place)
    base = one.value.base
    if one.value is not prompt:
        return base
    return base + place.tokens.to(base)[..., None] * torch.linspace(1, 2, base.shape[-1]).to(base)


def followed(function: Callable, arguments: tuple[tuple, dict], result: object) -> object:
    """What a function of torch made of contexts, as contexts that have their table. arguments: with a Recorded for each
    tensor."""
    if isinstance(result, (tuple, list)):
        parts = [
            with_table(part, ComputedTable(function, arguments, part.clone(), number)) if is_context(part) else part
            for number, part in enumerate(result)
        ]
        return type(result)(parts)
    if not is_context(result):
        return result
    base, name = result.as_subclass(Tensor).clone(), function.__name__
    # What is only shaped like a context, or drawn at random, is not another at another t.
    only_like = name.endswith("_like") or name.startswith("new_")
    return with_table(result, FixedTable(base) if only_like else ComputedTable(function, arguments, base))


def is_context(result: object) -> bool:
    return isinstance(result, Tensor) and result.is_floating_point()


def with_table(result: Tensor, table: Table) -> PersonaContext:
    """Not a copy, as of PersonaContext.of: what another node writes into a part, it means to write into the whole."""
    context = result.as_subclass(PersonaContext)
    context.table = table
    return context


def changed_in_place(function: Callable, args: tuple) -> Tensor | None:
    """The tensor that a function of torch writes into."""
    name = function.__name__
    in_place = name in IN_PLACE or (name.endswith("_") and not name.endswith("__"))
    return args[0] if in_place and args and isinstance(args[0], Tensor) else None


def comes_to_a_layer(function: Callable, args: tuple) -> bool:
    """Whether the host does this to a context that comes to the UNet: the first layer, or before it a cast to another
    precision or device."""
    if function is not Tensor.copy_:
        return function is torch.nn.functional.linear
    target, source = args[:2]
    return (target.dtype, target.device) != (source.dtype, source.device)


def tables_in(arguments: object) -> list[Table]:
    """The tables of what contexts were, each once."""
    values = [one.value for one in flat(arguments) if isinstance(one, Recorded)]
    return list(dict.fromkeys(value for value in values if not isinstance(value, Tensor)))


def replaced(value: object, by: Callable) -> object:
    """The same nested lists, tuples and dicts with something else for each tensor, or for each Recorded."""
    if isinstance(value, (Tensor, Recorded)):
        return by(value)
    if isinstance(value, Mapping):
        return {name: replaced(one, by) for name, one in value.items()}
    return type(value)(replaced(one, by) for one in value) if isinstance(value, (list, tuple)) else value
