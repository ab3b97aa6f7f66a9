"""Long prompts in bounded memory: which of their sections go through the text encoders at once."""

from collections.abc import Iterator, Sequence

import comfy.model_management
import torch

AT_ONCE = 128  # sections of 77 tokens: what a prompt of three sections needs
TOKENS = 77  # of a section
USUAL = 768  # numbers that a token of CLIP-L is wide
COPIES = 3  # of all contexts, while a table is made
GIGABYTE = 2**30


class PromptTooLong(ValueError):
    """A prompt whose table of contexts does not fit into memory."""


def at_once(length: int, width: int) -> int:
    """How many sections of a language model, as long as their prompt, take as much memory as AT_ONCE of CLIP's."""
    return max(1, AT_ONCE * TOKENS * USUAL // (length * width))


def portions(
    prompts: int, count: int, points: int, most: int | None = None
) -> Iterator[tuple[Sequence[int], Sequence[int]]]:
    """The numbers of prompts of `count` sections that are encoded at once, `most` sections: first those of K, which
    have no bypass.

    prompts: in order those of K for `points` timesteps, as many of V, and those without the personas. K and V of a
    timestep go together: where they have the same tokens, their layers are computed once.
    """
    each = range(prompts)
    most = AT_ONCE if most is None else most
    if prompts * count <= most:
        yield each[:points], each[points:]
        return
    size = max(1, most // (2 * count))
    for first in range(0, points, size):
        keys = each[first : min(first + size, points)]
        yield keys, each[points + keys.start : points + keys.stop]
    for first in range(2 * points, prompts, 2 * size):
        yield each[:0], each[first : first + 2 * size]


def check_room(sections: int, width: int, length: int = TOKENS) -> None:
    """Raise PromptTooLong where the contexts of so many sections, `length` tokens long and `width` wide, would not fit,
    before they are made."""
    needed = COPIES * sections * length * width * torch.float32.itemsize
    free = comfy.model_management.get_free_memory(comfy.model_management.intermediate_device())
    if needed > free:
        raise PromptTooLong(
            f"This prompt is too long for a persona: it needs {needed / GIGABYTE:.1f} GB of memory, and "
            f"{free / GIGABYTE:.1f} GB are free. Shorten it, or put the persona into a short prompt of its own and "
            "join the two with Conditioning (Concat)."
        )
