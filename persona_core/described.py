"""What a persona is and how it was learned, to be read."""

from .letters import one_line
from .persona import Persona


def facts(persona: Persona) -> dict[str, object]:
    who = {
        "name": persona.name,
        "placeholder": persona.placeholder,
        **persona.representation.facts(),
        "learned for": persona.family,
        "supercategory": persona.supercategory,
        "consent": persona.consent or "none is noted",
    }
    end = {
        "last losses": ", ".join(f"{name} {values[-1]:.4g}" for name, values in persona.losses.items() if values),
        "fingerprint": persona.fingerprint,
    }
    # Twice: a file's settings are called as whoever made it likes, and may stand for none of these.
    return {**who, **persona.settings, **end, **who}


def described(persona: Persona) -> str:
    """The facts, one a line, whatever is in them."""
    return "\n".join(f"{one_line(name)}: {one_line(value)}" for name, value in facts(persona).items())
