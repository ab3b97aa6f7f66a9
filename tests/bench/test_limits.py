"""What the benchmark of large inputs measures of a run: its memory beside what was there, or its sentence."""

import sys

import pytest
import torch

from bench import limits


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_memory_of_a_run_and_what_it_says():
    there = torch.ones(100 * 2**18)  # 100 MB
    found = limits.measured(lambda: torch.ones(200 * 2**18).sum() + there.sum())
    assert 150 < found.memory / 2**20 < 300 and not found.said

    def refuses():
        raise ValueError("Too long.")

    assert limits.measured(refuses).said == "Too long."


def test_a_text_is_as_long_as_it_is_told_to_be():
    size = limits.Size(applies=3, placeholders=7, characters=1000)
    lengths = {name: (len(text), text.count("<p"), applies) for name, (text, applies) in limits.prompts(size).items()}
    assert lengths["7 placeholders"][1:] == (7, 1)
    assert lengths["3 chained Applies, all in the prompt"][1:] == (3, 3)
    assert abs(lengths["1,000 characters, one placeholder"][0] - 1000) < 100
    assert lengths[limits.REFUSED][0] > 1_800_000 and lengths[limits.REFUSED][1] == 5000
