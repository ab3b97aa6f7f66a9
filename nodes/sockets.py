"""The pack's own socket types."""

from comfy_api.latest import io

Persona = io.Custom("PERSONA")
Stages = io.Custom("STAGES")

CATEGORY = "persona"
