"""A MODEL and its CLIP while they are loaded for learning, and what they make of a job."""

import math
from collections.abc import Sequence

import torch
from comfy.model_patcher import ModelPatcher
from comfy.sd import CLIP
from torch import Tensor

from ...mapper import StageMapper
from ...names import starts
from ...recipes import Beginning, Recipe
from ...task import References, TrainingTask
from ..clip import text_towers
from .adapted_text import text_encoder
from .autograd import reads_out
from .frozen import frozen
from .memory import can_checkpoint
from .text import DifferentiableText


class LoadedModels:
    """Within `autograd.differentiable`. off: those of their patchers that stay off the device."""

    def __init__(self, model: ModelPatcher, clip: CLIP, off: Sequence[ModelPatcher] = ()):
        self.model, self.clip, self.off, self.towers = model, clip, off, text_towers(clip)
        self.denoisers: dict[int, object] = {}
        self.texts: dict[tuple, DifferentiableText] = {}

    def denoiser(self, cells: int):
        """For latents of so many cells."""
        if cells not in self.denoisers:
            self.denoisers[cells] = frozen(self.model, cells)
        return self.denoisers[cells]

    def text(self, recipe: Recipe, dtype: torch.dtype) -> DifferentiableText:
        """One for all recipes that it serves: people learned at once share its passes."""
        clip = self.clip
        # Others have use for the word: what is pooled, and what stands in an adapter's place of the persona.
        word = recipe.supercategory if len(self.towers.towers) > 1 or self.towers.target else ""
        if (key := (recipe.tokens, word, dtype)) not in self.texts:
            twice = clip.patcher in self.off or (
                reads_out(clip.patcher.model) and can_checkpoint(clip.patcher.load_device)
            )
            self.texts[key] = text_encoder(self.model, clip, recipe.tokens, recipe.supercategory, dtype, twice)
        return self.texts[key]

    def task(
        self,
        recipe: Recipe,
        latents: Tensor,
        masks: Tensor,
        images: Tensor | None = None,
        kept: StageMapper | None = None,
    ) -> TrainingTask:
        """What is learned of photos that `latents.encode` has encoded. images: their embeddings. kept: what to go on
        from. Raises ValueError for a caption that cannot be read."""
        denoiser, towers = self.denoiser(math.prod(latents.shape[-2:])), self.towers
        device, word = denoiser.device, towers.word(recipe.supercategory)
        start = starts(recipe.tokens, word, towers.known) if recipe.starts_at_names else None
        text = self.text(recipe, denoiser.dtype)
        images = None if images is None else images.clone()
        beginning = Beginning(word, images, towers.widths, start, text.output_of(word), kept)
        representation = recipe.representation(beginning).to(device)
        references = References(latents.clone().to(device).float(), masks.clone().to(device).float())
        objective = recipe.objective(towers.word)
        text.check(objective.prompts)
        return TrainingTask(representation, references, text, denoiser, objective, recipe.learning)
