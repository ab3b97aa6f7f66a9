"""ComfyUI-Persona: what ComfyUI loads. The nodes, the browser's files and the personas folder, nothing else."""

from comfy_api.latest import ComfyExtension, io

from .nodes import apply, attention, faces, kv_tokens, learn, library, stages

WEB_DIRECTORY = "web"

library.register_folder()


class PersonaExtension(ComfyExtension):
    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        modules = learn, kv_tokens, stages, apply, attention, library, faces
        return [node for module in modules for node in module.NODES]


async def comfy_entrypoint() -> PersonaExtension:
    return PersonaExtension()
