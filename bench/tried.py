"""What was tried to learn sooner, and is not in the pack."""

from dataclasses import dataclass, fields
from functools import cache

import torch
from torch import Tensor

from bench.quality import models
from persona_core.mapper import StageMapper
from persona_core.recipes import StageMapperRecipe
from persona_core.representation import TokenVectors, on_sphere


class FromOutput(StageMapper):
    """Cross Initialization (arXiv 2312.15905): tokens start at what the text encoder makes of the word, with the length
    of the word here, to which they are held."""

    start: Tensor

    def at(self, t: Tensor, picture: Tensor | None = None) -> TokenVectors:
        made = super().at(t, picture)
        offsets = self.head(self.time_feature(t)).unflatten(1, (self.tokens, -1))
        vectors = on_sphere(offsets + on_sphere(self.start, self.word), self.word)
        return TokenVectors(vectors, vectors, made.bypass)

    def exported(self) -> "FromOutput":
        """As it is: a file would not know where it began."""
        return self


@dataclass(frozen=True, kw_only=True)
class CrossInitialized(StageMapperRecipe):
    """PersonaMagic that starts there. start: [D]."""

    start: Tensor

    def representation(self, word: Tensor, images: Tensor | None, widths: tuple[int, ...] = ()) -> FromOutput:
        made = FromOutput(word, self.stages, self.tokens, images, self.learning.seed)
        made.start = self.start
        return made


@cache
def cross_initialized(recipe: StageMapperRecipe) -> CrossInitialized:
    clip = models()[1]
    with torch.inference_mode(False), torch.no_grad():
        context = clip.encode_from_tokens(clip.tokenize(f"a photo of a {recipe.supercategory}"))
        start = context[0, 5].clone().float()  # after the start token and four words
    return CrossInitialized(**{field.name: getattr(recipe, field.name) for field in fields(recipe)}, start=start)
