"""What newer hosts do otherwise, imitated on an older one; nothing is changed on a host that does it by itself.

Dynamic VRAM needs an NVIDIA card. Here a layer's weights stay where they are, and each call borrows a place for them
and gives it back, so that another layer may get it. Autograd does not notice: the place has no version counter.
"""

import ctypes
import inspect
import textwrap

import comfy.ops
import comfy.samplers
import tiny_models
import torch
from comfy import sd1_clip
from comfy.model_patcher import ModelPatcher

PLACE = torch.zeros(2**24, dtype=torch.uint8)
BIAS = 2**23  # where in it


def answer_in_three(monkeypatch) -> None:
    """Since 0.28 `_try_get_embedding` gives (embedding, its name, leftover text)."""
    tokenizer = sd1_clip.SDTokenizer
    own, source = tokenizer._try_get_embedding, textwrap.dedent(inspect.getsource(tokenizer.tokenize_with_weights))
    if "embed, embedding_name, leftover = self._try" in source:
        return
    changed, space = source.replace("embed, leftover = self._try", "embed, embedding_name, leftover = self._try"), {}
    assert changed != source
    exec(changed, sd1_clip.__dict__, space)
    monkeypatch.setattr(tokenizer, "tokenize_with_weights", space["tokenize_with_weights"])

    def three(self, name):
        embed, leftover = own(self, name)
        return embed, name.split()[0], leftover

    monkeypatch.setattr(tokenizer, "_try_get_embedding", three)


def lend(weight: torch.Tensor, at: int) -> torch.Tensor:
    """A copy in PLACE, that no version counter watches."""
    count = weight.numel() * weight.element_size()
    raw = (ctypes.c_ubyte * count).from_address(PLACE.data_ptr() + at)
    place = torch.frombuffer(raw, dtype=weight.dtype).view(weight.shape)
    with torch.no_grad():
        place.copy_(weight)
    return place


class LendingPatcher(ModelPatcher):
    """`ModelPatcherDynamic`, as far as others see it. Its delegate is an ordinary patcher on weights of its own."""

    cached_patcher_init = ()  # None where the loader does not say how to load again
    again = staticmethod(tiny_models.model)
    read_again = 0

    def is_dynamic(self):
        return True

    def clone(self, disable_dynamic=False, model_override=None, force_deepcopy=False):
        clone = super().clone()
        if not disable_dynamic:
            return clone
        if self.cached_patcher_init is None:
            raise RuntimeError("Cannot create non-dynamic delegate: cached_patcher_init is not initialized.")
        type(self).read_again += 1
        whole = self.again()
        whole.patches, whole.object_patches = clone.patches, clone.object_patches
        whole.model_options = clone.model_options
        return whole

    def get_non_dynamic_delegate(self):
        return self.clone(disable_dynamic=True)


def lend_weights(monkeypatch, *patchers: ModelPatcher, again=tiny_models.model) -> type[LendingPatcher]:
    """Let these models lend their weights; again: makes their weights once more. Returns their class, which counts how
    often that was done."""
    own = comfy.ops.cast_bias_weight

    def cast_bias_weight(layer, *args, **kwargs):
        weight, bias, *rest = own(layer, *args, **kwargs)
        if not getattr(layer, "lent", False):
            return weight, bias, *rest
        return lend(weight, 0), None if bias is None else lend(bias, BIAS), *rest

    monkeypatch.setattr(comfy.ops, "cast_bias_weight", cast_bias_weight)
    kind = type("LendingPatcher", (LendingPatcher,), {"again": staticmethod(again)})
    for patcher in patchers:
        patcher.__class__, patcher.cached_patcher_init = kind, ()
        for layer in patcher.model.modules():
            if hasattr(layer, "comfy_cast_weights") and getattr(layer, "weight", None) is not None:
                layer.comfy_cast_weights = layer.lent = True
    return kind


def keep_what_painting_borrowed(monkeypatch) -> None:
    """After `lend_weights`: a place that nobody else took is not filled anew. What painting borrowed, in inference
    mode, is what learning then gets."""
    lending = comfy.ops.cast_bias_weight

    def resident(layer, *args, **kwargs):
        if not getattr(layer, "lent", False):
            return lending(layer, *args, **kwargs)
        if not hasattr(layer, "kept"):
            with torch.inference_mode():
                weight, bias, *rest = lending(layer, *args, **kwargs)
                layer.kept = weight.clone(), None if bias is None else bias.clone(), *rest
        return layer.kept

    monkeypatch.setattr(comfy.ops, "cast_bias_weight", resident)


def paint_hooks_on_a_delegate(monkeypatch) -> None:
    """A guider takes another copy of a MODEL that lends its weights, if a conditioning has hooks."""
    own = comfy.samplers.CFGGuider.inner_set_conds
    if "get_non_dynamic_delegate" in inspect.getsource(own):
        return

    def inner_set_conds(self, conds):
        lends = getattr(self.model_patcher, "is_dynamic", bool)()
        if lends and any("hooks" in extra for group in conds.values() for _, extra in group):
            self.model_patcher = self.model_patcher.get_non_dynamic_delegate()
        own(self, conds)

    monkeypatch.setattr(comfy.samplers.CFGGuider, "inner_set_conds", inner_set_conds)
