"""While sampling a MODEL that has an adapter behind the text encoder (`host.adapter`): the adapter reads each step's
contexts. The host would give it the one with the words, before the first step."""

import torch
from comfy.model_base import BaseModel
from torch import Tensor

from ..adapter import IDS, WEIGHTS, adapted

KEPT = "persona_target"  # in a conditioning's dict, of this run: the target tokens and their weights


def keep_from_adapter(cond: dict) -> None:
    """Let the host leave a conditioning's context as the text encoder made it. cond: of this run."""
    if IDS in cond:
        cond[KEPT] = cond.pop(IDS), cond.pop(WEIGHTS, None)


def sides_adapted(
    model: BaseModel, cond: dict, keys: Tensor, values: Tensor, device: torch.device
) -> tuple[Tensor, Tensor]:
    """The contexts of K and V [1, L, D], the same object where they do not differ, as the model's layers take them."""
    if KEPT not in cond:
        return keys, values
    if any(".llm_adapter." in name for name in model.current_patcher.hook_backup):
        # A hook's LoRA of the step before: the host reads plain prompts without it. Who needs it, puts it on again.
        model.current_patcher.unpatch_hooks()
    found = adapted(model, without_padding(keys).to(device), *cond[KEPT])
    if values is keys:
        return found, found
    return found, adapted(model, without_padding(values).to(device), *cond[KEPT])


def without_padding(context: Tensor) -> Tensor:
    """A context [B, L, D] without its rows of zeros, which stand where a prompt is longer with a persona than with the
    word: a table has all of one length. What somebody zeroed as a whole stays."""
    there = context.any(-1).any(0)
    return context[:, there] if there.any() else context
