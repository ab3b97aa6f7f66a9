"""A CLIP that knows two personas, of SD1 and of SDXL, and a MODEL for both."""

from functools import cache

import pytest
import tiny_models
import torch
from recording import encode

from persona_core.host.apply.encoding import apply_to_clip
from persona_core.host.apply.sampling import apply_to_model
from persona_core.table import AppliedPersona


@pytest.fixture(scope="module", params=["sd1", "sdxl"])
def family(request):
    return request.param


@pytest.fixture
def model(family):
    return tiny_models.model(sdxl=family == "sdxl")


@pytest.fixture(scope="module")
def clip(family):
    """One for all: nothing here may leave a trace in it."""
    with torch.inference_mode():
        return tiny_models.clip(family)


@pytest.fixture(scope="module")
def both(clip):
    """A CLIP that knows <ann>, and <bob> in other stages."""
    ann, bob = tiny_models.persona(clip), tiny_models.persona(clip, "bob", 300, 600, seed=1)
    return apply_to_clip(apply_to_clip(clip, AppliedPersona(ann), "<ann>"), AppliedPersona(bob), "<bob>")


@pytest.fixture(scope="module")
def encoded(both):
    """A prompt as `both` encodes it; each is encoded once, and neither the host's nodes nor sampling change it."""
    return cache(lambda text: encode(both, text))


@pytest.fixture
def routed(model):
    return apply_to_model(apply_to_model(model, "<ann>"), "<bob>")
