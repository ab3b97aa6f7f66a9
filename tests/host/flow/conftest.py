"""Small flow-matching transformers: Z-Image's, in which text and picture attend jointly, and in hosts that have it
Anima's, whose picture looks across at the text."""

import pytest
import tiny_models


@pytest.fixture(scope="module")
def family():
    """Of the models. Modules for each of `tiny_models.FLOWS` have one of their own."""
    return "z_image"


@pytest.fixture(scope="module")
def model(family):
    return getattr(tiny_models, family)()


@pytest.fixture(scope="module")
def clip(family):
    return tiny_models.clip(family)


@pytest.fixture(scope="module")
def persona(clip):
    return tiny_models.persona(clip, t_lo=538, t_hi=836)
