"""Whether a persona needs a noted consent to be applied: that decides who runs the server.

By a variable of the environment, which no workflow can set, nor anybody who is let in: files in ComfyUI's user folder
can be written over its own routes.
"""

import os
from datetime import date

from ..files import shown
from ..persona import Persona

VARIABLE = "COMFYUI_PERSONA_CONSENT"


def consent_required() -> bool:
    """Whatever the variable says: a slip of the pen should not switch it off."""
    return bool(os.getenv(VARIABLE, "").strip())


def consent_asked_on() -> str:
    """The day for which consent is asked, "" where nobody asks."""
    return date.today().isoformat() if consent_required() else ""


def check_consent(persona: Persona) -> None:
    """Raise ValueError with a sentence where consent is required, and is not there or has ended."""
    lacking = persona.consent.lacking(date.today()) if consent_required() else ""
    if lacking:
        raise ValueError(
            f"The persona {shown(persona.name)} is not applied, because {lacking}, and this ComfyUI asks for one: if "
            "they agree, note it with Save Persona (consent_by, consent_until), then load that file with Load Persona."
        )
