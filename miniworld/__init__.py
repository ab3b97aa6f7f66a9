"""A made-up world of people and cats, drawn like a picture book, in which likeness can be measured.

README.md says more.

generator = torch.Generator().manual_seed(0)
scene = drawing.scene.draw_scene([drawing.identity.Person.draw(generator)], generator)
pictures, masks = drawing.render.render([scene])  # [1, 3, 128, 128] in 0..1, [1, 1, 128, 128] bool
words.captions.caption(scene, random.Random(0))

As a node pack of ComfyUI it is the loader of its painter. Only the servers of this project's own tools and tests have
this folder linked into their custom_nodes.
"""


async def comfy_entrypoint():
    from .loader import MiniWorldExtension  # here: most who import this package run without ComfyUI

    return MiniWorldExtension()
