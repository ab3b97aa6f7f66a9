"""A made-up world of faces, in which likeness can be measured. As a node pack of ComfyUI: the loader of its painter.

Only the servers of this project's own tools and tests have this folder linked into their custom_nodes.
"""


async def comfy_entrypoint():
    from .loader import MiniWorldExtension  # here: most who import this package run without ComfyUI

    return MiniWorldExtension()
