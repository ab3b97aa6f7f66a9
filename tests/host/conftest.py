"""Tiny models of the host, made in inference mode as its loader nodes make theirs."""

from functools import partial

import comfy.model_management
import pytest
import tiny_models
import torch

from persona_core.host.apply.encoding import apply_to_clip
from persona_core.host.learn import memory
from persona_core.host.learn.run import TrainingJob
from persona_core.photos import Photo
from persona_core.recipes import StageMapperRecipe
from persona_core.table import AppliedPersona
from persona_core.task import TrainingSettings


@pytest.fixture(autouse=True)
def inference_mode():
    """The host runs every node so."""
    with torch.inference_mode():
        yield


@pytest.fixture
def model():
    return tiny_models.model()


@pytest.fixture
def clip():
    return tiny_models.clip()


@pytest.fixture
def vae():
    return tiny_models.vae()


@pytest.fixture
def make_persona(clip):
    return partial(tiny_models.persona, clip)


@pytest.fixture
def make_persona_of():
    """For the text encoders of a family."""
    return lambda family, **settings: tiny_models.persona(tiny_models.clip(family), **settings)


@pytest.fixture
def ann(make_persona):
    return make_persona()


@pytest.fixture
def applied(clip, ann):
    """A CLIP that knows <ann>."""
    return apply_to_clip(clip, AppliedPersona(ann), "<ann>")


@pytest.fixture
def photo():
    """One noise picture with a round mask."""
    generator = torch.Generator().manual_seed(0)
    y, x = torch.meshgrid(torch.linspace(-1, 1, 64), torch.linspace(-1, 1, 64), indexing="ij")
    return Photo(torch.rand(64, 64, 3, generator=generator), (x**2 + y**2 < 0.5).float())


@pytest.fixture
def job(model, clip, vae, photo):
    learning = TrainingSettings(steps=6, learning_rate=1e-3, batch_size=2, seed=5)
    return TrainingJob("ann", model, clip, vae, [photo], StageMapperRecipe(resolution=64, learning=learning))


@pytest.fixture
def free(monkeypatch):
    """Sets how much memory the host says is free."""

    def set_free(size: float) -> None:
        def get_free_memory(device=None, torch_free_too=False):
            return (size, size) if torch_free_too else size

        monkeypatch.setattr(comfy.model_management, "get_free_memory", get_free_memory)

    return set_free


@pytest.fixture
def kept(monkeypatch):
    """What rows were found to keep, one dict for each time it was found out."""
    found, saved_by_row = [], memory.saved_by_row

    def spy(*args):
        found.append(saved_by_row(*args))
        return found[-1]

    monkeypatch.setattr(memory, "saved_by_row", spy)
    return found
