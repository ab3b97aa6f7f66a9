"""A CLIP that knows <ann>, what it makes of a prompt, and a LoRA for both."""

import pytest
import tiny_models
import torch
from contexts import ANN_IN_SNOW
from neighbours import lora_file, serve
from recording import encode

from persona_core.host.apply.encoding import apply_to_clip
from persona_core.table import AppliedPersona


@pytest.fixture(scope="module")
def clip():
    """One for all: nothing here may leave a trace in it."""
    with torch.inference_mode():
        return tiny_models.clip()


@pytest.fixture(scope="module")
def applied(clip):
    """It knows <ann>. One for all, too."""
    with torch.inference_mode():
        return apply_to_clip(clip, AppliedPersona(tiny_models.persona(clip)), "<ann>")


@pytest.fixture(scope="module")
def usual(applied):
    """The conditioning of ANN_IN_SNOW, which nothing changes."""
    with torch.inference_mode():
        return encode(applied, ANN_IN_SNOW)


@pytest.fixture(scope="module")
def style(clip, tmp_path_factory):
    """A LoRA's file."""
    return lora_file(tmp_path_factory.mktemp("loras") / "style.safetensors", tiny_models.model(), clip)


@pytest.fixture
def lora(style, monkeypatch):
    return serve(monkeypatch, "loras", style)
