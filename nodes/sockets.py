"""The pack's own socket types, and what the host does not check of its own."""

from collections.abc import Sequence
from inspect import signature

from comfy_api.latest import io

Persona = io.Custom("PERSONA")
Stages = io.Custom("STAGES")

CATEGORY = "persona"


def also_found_as(words: str) -> dict[str, list[str]]:
    """For io.Schema: what else artists search for who want this node, where the host takes that."""
    return {"search_aliases": words.split(", ")} if "search_aliases" in signature(io.Schema).parameters else {}


def few_first(schema: io.Schema, *first: str) -> io.Schema:
    """The schema, of whose widgets editors that know of it show these, and the others behind a button."""
    for one in schema.inputs:
        if isinstance(one, io.WidgetInput) and one.id not in first:
            one.extra_dict["advanced"] = True  # an argument of its own in newer hosts, with the same effect
    return schema


def check_choices(**chosen: tuple[str | None, Sequence[str]]) -> bool | str:
    """For validate_inputs: True, or a sentence. The host checks no lists of nodes of this kind.

    chosen: an input's value and what its list offers. A value that comes over a link is None, not known yet.
    """
    for name, (value, options) in chosen.items():
        if value is not None and value not in options:
            return f"{name} is '{value}', which is not in its list. Choose one of: {', '.join(options)}."
    return True
