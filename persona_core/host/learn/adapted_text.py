"""The host's text encoder with the adapter behind it that is in a MODEL (Anima), differentiable through both.

Shapes: R rows, L tokens of the text encoder's context, D its width, T target tokens, M those that the layers look at.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import torch
from comfy.model_patcher import ModelPatcher
from comfy.sd import CLIP
from torch import Tensor

from ...representation import TokenVectors
from ...task import TextEncoding
from ..adapter import adapted, has_adapter
from .text import SLOT, DifferentiableText, not_plain, sections

LONGEST = 512  # target tokens: to so many the host fills up shorter texts


def text_encoder(
    model: ModelPatcher,
    clip: CLIP,
    tokens: int,
    supercategory: str,
    dtype: torch.dtype = torch.float32,
    twice: bool = False,
) -> DifferentiableText:
    """That of a MODEL and its CLIP, which are loaded; see DifferentiableText."""
    if has_adapter(model.model.diffusion_model):
        return AdaptedText(model, clip, tokens, supercategory, dtype, twice)
    return DifferentiableText(clip, tokens, supercategory, dtype, twice)


class AdaptedText(DifferentiableText):
    """The same, with contexts as the layers get them. What stands for the persona among the target tokens is the
    supercategory's word, which the MODEL knows; who it is, it finds in the text encoder's context."""

    def __init__(
        self, model: ModelPatcher, clip: CLIP, tokens: int, supercategory: str, dtype: torch.dtype, twice: bool
    ):
        super().__init__(clip, tokens, supercategory, dtype, twice)
        self.model, self.device, self.target = model.model, model.load_device, self.towers.target
        self.targets_of = cache(self.targets)

    def targets(self, prompt: str) -> tuple[Tensor, list[bool], list[bool]]:
        """The target tokens [T] of a prompt; which are the supercategory's, at a "{}", and which other words'."""
        before, slot, after = prompt.partition(SLOT)
        word = self.supercategory if slot else ""
        return self.target.ids(before + word + after), *self.target.places(before, word, after)

    def check(self, prompts: Sequence[str]) -> None:
        super().check(prompts)
        for prompt in prompts:
            if self.target.weighs(prompt):  # which the language model's tokens do not tell
                raise not_plain(prompt)
            if len(self.targets_of(prompt)[0]) > LONGEST:
                raise ValueError(
                    f"The prompt '{prompt}' is longer than the model reads: {LONGEST} words or parts of words. Make "
                    "the caption shorter."
                )

    def encode(self, prompts: Sequence[str], vectors: TokenVectors, rich: Sequence[str] = ()) -> TextEncoding:
        """See `task.TextEncoder`."""
        encoding = super().encode(prompts, vectors, rich)
        keys = self.adapted(encoding.keys, prompts)
        values = keys if encoding.values is encoding.keys else self.adapted(encoding.values, prompts)
        places = [self.targets_of(prompt)[1:] for prompt in prompts]
        persona, words = (
            torch.tensor([one[which] + [False] * (keys.shape[1] - len(one[which])) for one in places])
            for which in (0, 1)
        )
        return replace(encoding, keys=keys, values=values, persona=persona.to(keys.device), words=words.to(keys.device))

    def adapted(self, contexts: Tensor, prompts: Sequence[str]) -> Tensor:
        """[R, M, D] of the text encoder's contexts [R, L, D]; those of one prompt at once, as they are as long."""
        (tower,) = self.towers.towers
        found: dict[int, Tensor] = {}
        for prompt in dict.fromkeys(prompts):
            rows = [number for number, other in enumerate(prompts) if other == prompt]
            length = len(sections(self.tokens_of(prompt), tower.key))
            some = contexts[rows, :length].to(self.device)
            found |= zip(rows, adapted(self.model, some, self.targets_of(prompt)[0]))
        return torch.stack([found[row] for row in range(len(prompts))]).float()
