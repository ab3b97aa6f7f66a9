"""The pack in a ComfyUI in which it can run: its nodes, and the folder of personas."""

from comfy_api.latest import ComfyExtension, io

from ..persona_core.host import store
from . import apply, attention, checks, faces, kv_tokens, learn, library, picture_info, stages

store.register_folder()
checks.serve()
picture_info.serve()


class PersonaExtension(ComfyExtension):
    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        modules = learn, kv_tokens, stages, apply, attention, library, faces
        return [node for module in modules for node in module.NODES]


async def comfy_entrypoint() -> PersonaExtension:
    return PersonaExtension()
