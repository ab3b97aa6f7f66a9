"""What the pack needs of ComfyUI: every name that it uses or replaces, how it calls it and what it gets.

`broken` asks the host that runs. `tests/host/test_contract.py` holds the list against the pack's own code, and what
names give against what they really give. Nothing of the host is imported before it is asked.
"""

import inspect
import logging
import pkgutil
from collections.abc import Iterable

from .needs import CONTRACT, Need

log = logging.getLogger("persona")

TRIED = "0.3.75 to 0.33.0"  # see README
HOST = ("comfy", "comfy_api", "comfy_execution", "folder_paths", "server", "comfyui_version")


def broken(needs: Iterable[Need] = CONTRACT) -> list[str]:
    """What this host lacks, a part of a sentence for each name."""
    return [problem for need in needs if (problem := problem_with(need))]


def problem_with(need: Need) -> str | None:
    """What a host changed of a name, or None."""
    try:
        found = look_up(need.name)
    except Exception as error:  # a module of the host may fail in any way
        why = "" if isinstance(error, (AttributeError, ModuleNotFoundError)) else f" ({type(error).__name__}: {error})"
        return f"{need.name} is missing{why}"
    if need.takes is None:
        return None
    try:
        signature = inspect.signature(found)
        fits = signature.bind
    except (TypeError, ValueError):
        return f"{need.name} cannot be called"
    words = [word.strip() for word in need.takes.split(",") if word.strip()]
    placed = [None for word in words if not word.endswith("=")]
    named = {word.removesuffix("="): None for word in words if word.endswith("=")}
    if is_method(need.name):
        placed.append(None)  # the object itself
    try:
        fits(*placed, **named)
    except TypeError:
        return f"{need.name} takes {signature}, and no longer ({need.takes})"
    return None


def look_up(name: str) -> object:
    """An object of the host, or None for an attribute that objects of a class get when they are made."""
    try:
        return pkgutil.resolve_name(name)
    except AttributeError:
        place, _, attribute = name.rpartition(".")
        owner = pkgutil.resolve_name(place)
        if isinstance(owner, type) and is_set_by(owner, attribute):
            return None
        raise


def is_set_by(kind: type, attribute: str) -> bool:
    """Whether a class's own code sets an attribute. Where another pack has put its function there, nobody can tell, and
    it is taken to be so."""
    for base in kind.__mro__:
        if attribute in vars(base).get("__annotations__", {}):
            return True
        for function in (vars(base).get(name) for name in ("__init__", "sample")):
            if inspect.isfunction(function):
                own = inspect.unwrap(function)
                if own.__module__ != base.__module__ or attribute in own.__code__.co_names:
                    return True
    return False


def is_method(name: str) -> bool:
    """Whether a name is a method that wants its object as well."""
    place, _, attribute = name.rpartition(".")
    owner = pkgutil.resolve_name(place) if ":" in place else None
    return isinstance(owner, type) and inspect.isfunction(inspect.getattr_static(owner, attribute))


def why_not(error: Exception | None = None) -> str | None:
    """Why the pack cannot run in this ComfyUI, for an artist: which it is, what it lacks, what to do. None if it can.

    error: with which loading the pack ended all the same.
    """
    problems = broken()
    for problem in problems:
        log.error("ComfyUI-Persona cannot run in this ComfyUI: %s", problem)
    if not problems and error is None:
        return None
    package = (getattr(error, "name", None) or "").partition(".")[0]
    if not problems and isinstance(error, ModuleNotFoundError) and package not in HOST:
        return (
            f"ComfyUI-Persona cannot run: the Python package '{package}' is not installed. In the pack's folder, with "
            "the Python that runs ComfyUI: pip install -r requirements.txt. Then restart ComfyUI."
        )
    if not problems and package not in HOST:
        return f"ComfyUI-Persona could not be loaded ({type(error).__name__}: {error}). The log says more."
    problems = problems or [f"{error}"]
    more = f", and {len(problems) - 1} more (see the log)" if len(problems) > 1 else ""
    return (
        f"ComfyUI-Persona cannot run in this ComfyUI ({version()}): {problems[0]}{more}. It was tried with ComfyUI "
        f"{TRIED}: update ComfyUI, or, if yours is newer, ComfyUI-Persona."
    )


def version() -> str:
    """What the host says of itself. Told to people; nothing is decided by it."""
    try:
        return pkgutil.resolve_name("comfyui_version:__version__")
    except (AttributeError, ImportError):
        return "of an unknown version"
