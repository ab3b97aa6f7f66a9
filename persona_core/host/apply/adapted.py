"""While sampling a MODEL that has an adapter behind the text encoder (`host.adapter`): the adapter reads each step's
contexts. The host would give it the one with the words, before the first step."""

import torch
from comfy.model_base import BaseModel
from torch import Tensor

from ..adapter import IDS, WEIGHTS, adapted, has_adapter
from ..clip import UnsupportedModel

# Target tokens [T] and their weights, by the context that they belong to: a conditioning's dict may come to be that of
# another prompt, as the host copies areas into the opposite list.
Targets = dict[int, tuple[Tensor, Tensor | None]]


def keep_from_adapter(cond: dict, targets: Targets) -> None:
    """Let the host leave a conditioning's context as the text encoder made it. cond: of this run."""
    if IDS in cond:
        targets[id(cond["cross_attn"])] = cond.pop(IDS), cond.pop(WEIGHTS, None)


def sides_adapted(
    model: BaseModel, target: tuple[Tensor, Tensor | None] | None, keys: Tensor, values: Tensor, device: torch.device
) -> tuple[Tensor, Tensor]:
    """The contexts of K and V [1, L, D], the same object where they do not differ, as the model's layers take them.
    target: of `Targets`, if the context has one. Raises UnsupportedModel."""
    if target is None:
        return keys, values
    if not has_adapter(model.diffusion_model):
        raise UnsupportedModel(
            f"This prompt is encoded for Anima, but the sampler's MODEL is {type(model.model_config).__name__}, which "
            "takes other text. Take MODEL and CLIP from one checkpoint."
        )
    if any(".llm_adapter." in name for name in model.current_patcher.hook_backup):
        # A hook's LoRA of the step before: the host reads plain prompts without it. Who needs it, puts it on again.
        model.current_patcher.unpatch_hooks()
    found = adapted(model, without_padding(keys).to(device), *target)
    if values is keys:
        return found, found
    return found, adapted(model, without_padding(values).to(device), *target)


def without_padding(context: Tensor) -> Tensor:
    """A context [B, L, D] without its rows of zeros, which stand where a prompt is longer with a persona than with the
    word: a table has all of one length. What somebody zeroed as a whole stays."""
    there = context.any(-1).any(0)
    return context[:, there] if there.any() else context
