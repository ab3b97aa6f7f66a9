"""How this host does what hosts do in different ways. The host itself is asked, never its version number.

Each answer says since when the newer way is there; the older one is that of 0.3.75.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import comfy.model_management
from comfy.model_patcher import ModelPatcher
from torch import nn

from .clip import UnsupportedModel

TRAINING = "in_training"  # what newer hosts call it


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
    Raises UnsupportedModel where the loader did not say how, or where a part of what is lent was put into the model.
    """
    if not lends_weights(patcher):
        return patcher.clone()
    if getattr(patcher, "cached_patcher_init", patcher) is None:
        raise UnsupportedModel(
            f"Learning needs the whole {what} in memory, but this ComfyUI lends it piece by piece, and the loader of "
            f"this {what} does not say how to read it whole. Use ComfyUI's own loader (Load Checkpoint, Load Diffusion "
            "Model, Load CLIP), or start ComfyUI with --disable-dynamic-vram."
        )
    if held := holding_on(patcher):
        raise UnsupportedModel(
            f"A node put something of its own into this {what} ({held[0]}) that holds on to weights which this ComfyUI "
            f"lends piece by piece. Learn with the {what} as it is loaded, or start ComfyUI with "
            "--disable-dynamic-vram."
        )
    return patcher.clone(disable_dynamic=True)


@contextmanager
def told_that_it_trains() -> Iterator[None]:
    """Within, the host computes with what has a backward pass. Older hosts compute with nothing else."""
    before = getattr(comfy.model_management, TRAINING, None)
    if before is None:
        yield
        return
    setattr(comfy.model_management, TRAINING, True)
    try:
        yield
    finally:
        setattr(comfy.model_management, TRAINING, before)


def holding_on(patcher: ModelPatcher) -> list[str]:
    """Where something was put into a model that is one of its modules elsewhere, or a method of one."""
    parts = {id(part): name for name, part in patcher.model.named_modules()}
    owners = {name: getattr(patch, "__self__", patch) for name, patch in patcher.object_patches.items()}
    modules = {name: owner for name, owner in owners.items() if isinstance(owner, nn.Module)}
    return [name for name, owner in modules.items() if parts.get(id(owner), name) != name]
