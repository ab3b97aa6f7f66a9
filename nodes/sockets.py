"""The pack's own socket types, and what the host does not check of its own."""

from collections.abc import Sequence

from comfy_api.latest import io

Persona = io.Custom("PERSONA")
Stages = io.Custom("STAGES")

CATEGORY = "persona"


def check_choices(**chosen: tuple[str | None, Sequence[str]]) -> bool | str:
    """For validate_inputs: True, or a sentence. The host checks no lists of nodes of this kind.

    chosen: an input's value and what its list offers. A value that comes over a link is None, not known yet.
    """
    for name, (value, options) in chosen.items():
        if value is not None and value not in options:
            return f"{name} is '{value}', which is not in its list. Choose one of: {', '.join(options)}."
    return True
