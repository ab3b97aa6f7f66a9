"""Prompts with personas, and the sampler run with them."""

import pytest
import tiny_models
import torch
from neighbours import STEPS
from recording import encode, sample

from persona_core.host.apply.encoding import apply_to_clip
from persona_core.table import AppliedPersona


@pytest.fixture(scope="module")
def clip():
    """One for all: nothing here may leave a trace in it."""
    with torch.inference_mode():
        return tiny_models.clip()


@pytest.fixture(scope="module")
def everyone(clip):
    """By name what is painted here, "bob" by a CLIP that knows him too; no node and no sampling changes it."""
    texts = {
        "persona": "a photo of <ann> in snow",
        "plain": "a photo of face in snow",
        "negative": "lowres",
        "empty": "",
    }
    with torch.inference_mode():
        applied = apply_to_clip(clip, AppliedPersona(tiny_models.persona(clip)), "<ann>")
        bob = AppliedPersona(tiny_models.persona(clip, "bob", 300, 600, seed=1))
        both = encode(apply_to_clip(applied, bob, "<bob>"), "<bob> in snow")
        return {**{name: encode(applied, text) for name, text in texts.items()}, "bob": both}


@pytest.fixture
def prompts(everyone):
    return {name: prompt for name, prompt in everyone.items() if name != "bob"}


@pytest.fixture
def paint(prompts):
    """Sample with the persona, or with the plain word. Some nodes draw random numbers of their own."""

    def run(model, positive="persona", **more):
        torch.manual_seed(0)
        return sample(model, prompts[positive], prompts["negative"], steps=STEPS, **more)

    return run
