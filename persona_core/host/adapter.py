"""The text adapter inside some MODELs (Anima's): their layers do not look at the text encoder's context, but at what
words of another vocabulary (T5's), which the MODEL knows by itself, find in it.

Shapes: R rows, L tokens of the text encoder's context, D its width, T target tokens, M those that the layers look at.
"""

from collections.abc import Sequence

import torch
from comfy.model_base import BaseModel
from torch import Tensor, nn

TARGET = "t5xxl"  # the tokenizer of the target words, among a CLIP's
IDS, WEIGHTS = "t5xxl_ids", "t5xxl_weights"  # of the target tokens, in a conditioning's dict


def has_adapter(diffusion_model: nn.Module) -> bool:
    return hasattr(diffusion_model, "llm_adapter")


def adapted(model: BaseModel, context: Tensor, ids: Tensor, weights: Tensor | None = None) -> Tensor:
    """What the layers look at [R, M, D], of contexts [R, L, D] and target tokens [T] with their weights [T]: as the
    host makes it before it samples, M 512 at least."""
    dtype = model.manual_cast_dtype or model.get_dtype()
    rows = ids.to(context.device)[None].expand(len(context), -1)
    weights = None if weights is None else weights[None, :, None].to(context.device, dtype)
    return model.diffusion_model.preprocess_text_embeds(context.to(dtype), rows, t5xxl_weights=weights)


class TargetTokenizer:
    """The host's tokenizer of the target words."""

    def __init__(self, tokenizer: object):
        self.tokenizer = tokenizer

    def ids(self, text: str) -> Tensor:
        """[T] of a text of plain words."""
        (section,) = self.tokenizer.tokenize_with_weights(text)
        return torch.tensor([token for token, *_ in section], dtype=torch.int)

    def weighs(self, text: str) -> bool:
        """Whether a text holds weights."""
        return any(weight != 1 for section in self.tokenizer.tokenize_with_weights(text) for _, weight, *_ in section)

    def places(self, before: str, word: str, after: str) -> tuple[list[bool], list[bool]]:
        """Which of the T tokens of a text are of a word in it, and which of the other words. Without weights, but maybe
        with brackets that say that they are none."""
        before, word, after = (part.replace(r"\(", "(").replace(r"\)", ")") for part in (before, word, after))
        text = before + word + after
        spans: Sequence[tuple[int, int]] = self.tokenizer.tokenizer(text, return_offsets_mapping=True)["offset_mapping"]
        first, last = len(before), len(before + word)
        inside = [start < last and first < end for start, end in spans]
        return inside, [start < end and not its for (start, end), its in zip(spans, inside)]
