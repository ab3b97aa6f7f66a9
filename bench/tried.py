"""What was tried to learn sooner, and is not in the pack."""

from dataclasses import dataclass, fields, replace
from functools import cache

import torch
from torch import Tensor

from bench.quality import models
from persona_core.mapper import StageMapper
from persona_core.recipes import Beginning, StageMapperRecipe


@dataclass(frozen=True, kw_only=True)
class CrossInitialized(StageMapperRecipe):
    """Cross Initialization (arXiv 2312.15905): tokens start at what the text encoder makes of the word, brought to the
    length of the word, to which they are held here. made: [D], that."""

    made: Tensor

    def representation(self, beginning: Beginning) -> StageMapper:
        return super().representation(replace(beginning, start=self.made.expand(self.tokens, -1)))


@cache
def cross_initialized(recipe: StageMapperRecipe) -> CrossInitialized:
    clip = models()[1]
    with torch.inference_mode(False), torch.no_grad():
        context = clip.encode_from_tokens(clip.tokenize(f"a photo of a {recipe.supercategory}"))
        made = context[0, 5].clone().float()  # after the start token and four words
    return CrossInitialized(**{field.name: getattr(recipe, field.name) for field in fields(recipe)}, made=made)
