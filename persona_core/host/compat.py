"""How this host does what hosts do in different ways. The host itself is asked, never its version number.

Each answer says since when the newer way is there; the older one is that of 0.3.75.
"""

import torch
from comfy.model_patcher import ModelPatcher

from .clip import UnsupportedModel


def embedding_answer(own: tuple, embedding: object, leftover: str) -> tuple:
    """What a tokenizer's `_try_get_embedding` gives, with another embedding and another text left over.

    own: what the host's method gives: (embedding, leftover), and since 0.28 (embedding, its name, leftover).
    """
    return embedding, *own[1:-1], leftover


def lends_weights(patcher: ModelPatcher) -> bool:
    """Whether a layer gets its weights for each call only, in a place that another layer may get next.

    Since 0.16, "dynamic VRAM": the usual on NVIDIA, with torch 2.8 or newer.
    """
    is_dynamic = getattr(patcher, "is_dynamic", None)
    return is_dynamic is not None and is_dynamic()


def with_own_weights(patcher: ModelPatcher, what: str) -> ModelPatcher:
    """A clone that the host can load whole, for autograd to go back through. what: "MODEL" or "CLIP".

    Where weights are lent it has its own: since 0.16, the host reads the file once more for it; they go with the clone.
    Raises UnsupportedModel where the loader did not say how.
    """
    if not lends_weights(patcher):
        return patcher.clone()
    if getattr(patcher, "cached_patcher_init", patcher) is None:
        raise UnsupportedModel(
            f"Learning needs the whole {what} in memory, but this ComfyUI lends it piece by piece, and the loader of "
            f"this {what} does not say how to read it whole. Use ComfyUI's own loader (Load Checkpoint, Load Diffusion "
            "Model, Load CLIP), or start ComfyUI with --disable-dynamic-vram."
        )
    with torch.inference_mode(False):
        return patcher.clone(disable_dynamic=True)
