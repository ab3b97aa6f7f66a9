"""ComfyUI-Persona: what ComfyUI loads. The nodes, the browser's files and the personas folder, nothing else."""

import logging

from .nodes import refusing
from .persona_core.host import contract

WEB_DIRECTORY = "web"
NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS = None, None

why = contract.why_not()
if why is None:
    try:
        from .nodes.extension import comfy_entrypoint  # noqa: F401
    except Exception as error:  # whatever it is, ComfyUI and its other nodes go on
        logging.getLogger("persona").exception("ComfyUI-Persona could not be loaded:")
        why = contract.why_not(error)
if why is not None:
    NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS = refusing.nodes(why)
