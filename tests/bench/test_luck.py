"""What chance decides, where that is known."""

import pytest
import torch

from bench.luck import variances


def draw(learning: float, painting: float, seeds: int, pictures: int, people: int) -> torch.Tensor:
    """Scores of people [people, seeds, pictures]: of each seed something of its own, of each picture too."""
    chance = torch.Generator().manual_seed(0)
    of_seeds = learning * torch.randn(people, seeds, 1, generator=chance)
    of_pictures = torch.randn(people, 1, pictures, generator=chance)  # how hard a prompt is says nothing of luck
    return 0.5 + of_seeds + of_pictures + painting * torch.randn(people, seeds, pictures, generator=chance)


@pytest.mark.parametrize("learning", [0.0, 0.05])
@pytest.mark.parametrize("painting", [0.1, 0.4])
def test_what_painting_adds_is_told_apart_from_what_learning_does(learning, painting):
    found = torch.tensor([variances(person) for person in draw(learning, painting, 8, 64, 400)])
    apart, by_chance = found.mean(0)
    assert by_chance == pytest.approx(painting**2 / 64, rel=0.05)
    assert apart - by_chance == pytest.approx(learning**2, abs=2e-4)
