"""What learning hands to its loop, opened for a look at the memory that a step takes."""

import math
from contextlib import contextmanager
from dataclasses import replace

import torch
from jobs import noise

from persona_core.host.clip import text_towers
from persona_core.host.learn.adapted_text import text_encoder
from persona_core.host.learn.autograd import differentiable
from persona_core.host.learn.frozen import frozen
from persona_core.host.learn.memory import first_terms, kept_by
from persona_core.host.model import compute_dtype
from persona_core.recipes import Beginning
from persona_core.task import References, TrainingTask


@contextmanager
def opened(model, clip, recipe, size=(8, 8), cells=math.inf):
    """What learning hands to `learn`, of random latents of a size."""
    dtype = compute_dtype(model)
    with differentiable(model, clip.patcher, dtype=dtype):
        towers = text_towers(clip)
        representation = recipe.representation(Beginning(towers.word(recipe.supercategory), widths=towers.widths))
        text = text_encoder(model, clip, representation.tokens, recipe.supercategory, dtype)
        y, x = torch.meshgrid(*(torch.linspace(-1, 1, side) for side in size), indexing="ij")
        references = References(noise(1, 4, *size), (x**2 + y**2 < 0.5).float()[None, None])
        yield TrainingTask(
            representation,
            references,
            text,
            frozen(model, cells),
            recipe.objective(text.towers.word),
            recipe.learning,
        )


def weights_of(*patchers):
    return [weight for patcher in patchers for weight in patcher.model.parameters()]


def kept_by_a_step(task, layers, weights):
    """Bytes that a step of one row really keeps."""
    task = replace(task, settings=replace(task.settings, batch_size=1))
    return kept_by(lambda: first_terms(task), layers, weights)
