"""The pack installed but not used: nothing of the host is changed, and nothing it computes."""

import asyncio
import sys

import torch
from recording import encode, sample

import nodes
from tools.environment import PACK

HOST = ("comfy", "comfy_extras", "comfy_execution", "execution", "nodes", "folder_paths")


def functions() -> dict:
    """Every function, method and class of the host by its place."""
    found = {}
    for name, module in list(sys.modules.items()):
        if name.split(".")[0] in HOST and module is not None:
            for key, value in list(vars(module).items()):
                if callable(value):
                    found[name, key] = value
                if isinstance(value, type) and value.__module__ == name:
                    found |= {(name, key, method): one for method, one in vars(value).items() if callable(one)}
    return found


def test_loading_the_pack_patches_nothing_and_changes_no_picture(model, clip):
    def picture():
        return sample(model, encode(clip, "a photo of a face"), encode(clip, "lowres"))

    before, painted, contexts = functions(), picture(), encode(clip, "a <ann> in snow")[0][0]
    known = set(nodes.NODE_CLASS_MAPPINGS)
    assert asyncio.run(nodes.load_custom_node(str(PACK)))
    assert {"PersonaLearn", "PersonaApply"} <= set(nodes.NODE_CLASS_MAPPINGS) - known
    after = functions()
    assert len(before) > 1000 and {place for place, one in before.items() if after.get(place) is not one} == set()
    assert torch.equal(painted, picture()) and torch.equal(contexts, encode(clip, "a <ann> in snow")[0][0])
