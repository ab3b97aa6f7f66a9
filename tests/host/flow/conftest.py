"""Small models of Z-Image's kind: text and picture attend jointly in them."""

import pytest
import tiny_models


@pytest.fixture(scope="module")
def model():
    return tiny_models.z_image()


@pytest.fixture(scope="module")
def clip():
    return tiny_models.clip("z_image")
