"""The signal in gradients, where it is known."""

import pytest
import torch

from bench.gradient import WordTokens, signal_to_noise
from persona_core.stages import Stages


@pytest.mark.parametrize("ratio", [0.05, 0.12, 0.5, 2.0])
@pytest.mark.parametrize("size", [1, 4, 16])
def test_the_ratio_is_found_and_grows_with_the_root_of_the_batch(ratio, size):
    generator, count, width = torch.Generator().manual_seed(0), 4096, 256
    signal = torch.nn.functional.normalize(torch.randn(width, generator=generator), dim=0) * ratio
    noise = torch.randn(count, width, generator=generator) / width**0.5
    batches = (signal + noise).view(-1, size, width).mean(1)
    assert signal_to_noise(batches).value == pytest.approx(ratio * size**0.5, rel=0.2)


def test_pure_noise_has_next_to_no_signal():
    found = signal_to_noise(torch.randn(16, 4096, generator=torch.Generator().manual_seed(0)))
    assert found.value < 0.1  # the mean of sixteen alone would say 0.25


def test_one_gradient_tells_nothing():
    with pytest.raises(ValueError, match="at least two"):
        signal_to_noise(torch.ones(1, 3))


@pytest.mark.parametrize(("separate", "sides"), [(False, 1), (True, 2)])
def test_the_tokens_are_the_word_and_each_side_learns(separate, sides):
    tokens = WordTokens(torch.arange(4.0), 3, Stages(), separate)
    vectors = tokens.at(torch.tensor([500, 600]))
    assert vectors.keys.shape == vectors.values.shape == (2, 3, 4) and (vectors.keys == torch.arange(4.0)).all()
    assert len({id(side) for side in (vectors.keys, vectors.values)}) == sides
    (2 * vectors.keys + vectors.values).sum().backward()
    assert tokens.vectors.grad.flatten(1).unique(dim=1).flatten().tolist() == ([4.0, 2.0] if separate else [6.0])
