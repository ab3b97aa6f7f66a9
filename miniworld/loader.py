"""The node that loads the small painter."""

import folder_paths
from comfy_api.latest import ComfyExtension, io

from . import model


class LoadSmallPainter(io.ComfyNode):
    """What a checkpoint loader is to a checkpoint."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="MiniWorldLoader",
            display_name="Load Small Painter",
            category="persona/demo",
            description="The demo's checkpoint: it paints made-up faces, 32 pixels wide.",
            inputs=[],
            outputs=[
                io.Model.Output(display_name="model", tooltip="Paints in the pixels themselves."),
                io.Clip.Output(display_name="clip", tooltip="Knows few words besides those for faces."),
                io.Vae.Output(display_name="vae", tooltip="Makes a picture of the sampler's pixels."),
            ],
        )

    @classmethod
    def execute(cls) -> io.NodeOutput:
        return io.NodeOutput(*model.load(model.PAINTER, folder_paths.get_folder_paths("embeddings")))


class MiniWorldExtension(ComfyExtension):
    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [LoadSmallPainter]
