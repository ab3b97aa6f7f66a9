"""Code without one of its moves between devices: what would be forgotten where there is no GPU."""

import inspect
import textwrap
from collections.abc import Callable

import pytest


def take_away(monkeypatch: pytest.MonkeyPatch, function: Callable | property, move: str, instead: str = "") -> None:
    """Let a function run without a part of its source, wherever it is called from."""
    own, source = bare(function), textwrap.dedent(inspect.getsource(bare(function)))
    assert move in source, f"{own.__qualname__} has no {move} any more"
    made: dict = {}
    exec(compile(source.replace(move, instead), inspect.getfile(own), "exec"), own.__globals__, made)
    monkeypatch.setattr(own, "__code__", bare(made[own.__name__]).__code__)


def bare(function: Callable | property) -> Callable:
    """Without its decorators."""
    return inspect.unwrap(function.fget if isinstance(function, property) else function)
