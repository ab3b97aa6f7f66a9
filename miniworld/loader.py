"""The nodes that load the small painters."""

import folder_paths
from comfy_api.latest import ComfyExtension, io

from . import checkpoint, flow_checkpoint


class LoadSmallPainter(io.ComfyNode):
    """What a checkpoint loader is to a checkpoint."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="MiniWorldLoader",
            display_name="Load Small Painter",
            category="persona/demo",
            description="The demo's checkpoint: it paints made-up people and cats, 128 pixels wide.",
            inputs=[],
            outputs=[
                io.Model.Output(display_name="model", tooltip="A UNet with the geometry of SD1.5, but small."),
                io.Clip.Output(display_name="clip", tooltip="Knows the words that the made-up world needs."),
                io.Vae.Output(display_name="vae", tooltip="Between pictures and latents of an eighth of their size."),
            ],
        )

    @classmethod
    def execute(cls) -> io.NodeOutput:
        return io.NodeOutput(*checkpoint.load(embeddings=folder_paths.get_folder_paths("embeddings")))


class LoadSmallFlowPainter(io.ComfyNode):
    """What loaders are to the files of a flow-matching transformer."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="MiniWorldFlowLoader",
            display_name="Load Small Flow Painter",
            category="persona/demo",
            description="A small transformer of Z-Image's kind: it paints made-up people and cats, 128 pixels wide.",
            inputs=[],
            outputs=[
                io.Model.Output(display_name="model", tooltip="A transformer with the geometry of Z-Image, but small."),
                io.Clip.Output(display_name="clip", tooltip="A language model that knows the made-up world's words."),
                io.Vae.Output(display_name="vae", tooltip="Between pictures and latents of an eighth of their size."),
            ],
        )

    @classmethod
    def execute(cls) -> io.NodeOutput:
        return io.NodeOutput(*flow_checkpoint.load(embeddings=folder_paths.get_folder_paths("embeddings")))


class MiniWorldExtension(ComfyExtension):
    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [LoadSmallPainter, LoadSmallFlowPainter]
