"""A node pack for tests: a node that says any text on each of the ways by which ComfyUI-Persona's nodes say theirs."""

import sys


class PersonaSaysAnything:
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"text": ("STRING", {"multiline": True})}}

    RETURN_TYPES = ("STRING",)
    FUNCTION = "say"
    OUTPUT_NODE = True
    CATEGORY = "tests"

    def say(self, text: str):
        [messages] = [module for name, module in sys.modules.items() if name.endswith("persona_core.host.messages")]
        messages.tell(text)
        messages.warn(text)
        return {"ui": {"persona_notice": (text,), "text": (text,)}, "result": (text,)}


NODE_CLASS_MAPPINGS = {"PersonaSaysAnything": PersonaSaysAnything}
