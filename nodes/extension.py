"""The pack in a ComfyUI in which it can run: its nodes, the folder of personas, what the server is asked."""

from comfy_api.latest import ComfyExtension, io
from server import PromptServer

from ..persona_core.host import store
from . import apply, attention, checks, faces, kv_tokens, learn, library, picture_info, provenance, score, stages

store.register_folder()
if server := getattr(PromptServer, "instance", None):  # none where the host is a library
    server.routes.get(checks.ROUTE)(checks.answer)
    server.add_on_prompt_handler(picture_info.tell)


class PersonaExtension(ComfyExtension):
    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        modules = learn, kv_tokens, stages, apply, attention, library, faces, score, provenance
        return [node for module in modules for node in module.NODES]


async def comfy_entrypoint() -> PersonaExtension:
    return PersonaExtension()
