"""A node pack for tests: a MODEL for which memory holds one row at a time."""

import comfy.model_management


def attention(n, k, v, extra_options):
    if len(n) > 1:
        raise comfy.model_management.OOM_EXCEPTION("CUDA out of memory. Tried to allocate 2.00 GiB.")
    return n, k, v


class OutOfMemory:
    CATEGORY, FUNCTION, RETURN_TYPES = "tests", "patch", ("MODEL",)

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"model": ("MODEL",)}}

    def patch(self, model):
        model = model.clone()
        model.set_model_attn2_patch(attention)
        return (model,)


NODE_CLASS_MAPPINGS = {"OutOfMemory": OutOfMemory}
