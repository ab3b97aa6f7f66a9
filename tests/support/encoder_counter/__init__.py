"""A node pack for tests: counts the passes of text encoders in a running server, at /encoder_passes."""

from aiohttp import web
from comfy.sd1_clip import SDClipModel
from server import PromptServer

NODE_CLASS_MAPPINGS = {}
passes = {"count": 0}
forward = SDClipModel.forward


def counted(self, *args, **kwargs):
    passes["count"] += 1
    return forward(self, *args, **kwargs)


SDClipModel.forward = counted


@PromptServer.instance.routes.get("/encoder_passes")
async def encoder_passes(request):
    return web.json_response(passes)
