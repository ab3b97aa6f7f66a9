"""What a persona is and how it was learned, to be read."""

from .persona import Persona


def facts(persona: Persona) -> dict[str, object]:
    return {
        "name": persona.name,
        "placeholder": persona.placeholder,
        **persona.representation.facts(),
        "learned for": persona.family,
        "supercategory": persona.supercategory,
        "consent": persona.consent or "none is noted",
        **persona.settings,
        "last losses": ", ".join(f"{name} {values[-1]:.4g}" for name, values in persona.losses.items() if values),
        "fingerprint": persona.fingerprint,
    }


def described(persona: Persona) -> str:
    """The facts, one a line."""
    return "\n".join(f"{name}: {value}" for name, value in facts(persona).items())
