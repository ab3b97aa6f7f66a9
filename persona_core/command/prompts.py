"""A file of prompts: one a line, in each a place for the persona."""

from pathlib import Path

from ..files import QUOTED, shown
from .storage import is_url, read_bytes

PLACES = "<ann>", "{}"  # in a prompt, of whichever persona it is painted with
COMMENT = "#"


def read_prompts(place: str) -> list[str]:
    """Each once, in order. Raises ValueError with a sentence."""
    name = place if is_url(place) else Path(place).name
    prompts = []
    for number, line in enumerate(read_bytes(place).decode("utf-8-sig", errors="replace").splitlines(), 1):
        prompt = line.strip()
        if not prompt or prompt.startswith(COMMENT):
            continue
        if not any(one in prompt for one in PLACES):
            raise ValueError(
                f"Line {number} of {shown(name, QUOTED)}, {shown(prompt)}, has no place for the persona: write "
                f"{' or '.join(PLACES)} where they should be."
            )
        prompts.append(prompt)
    if not prompts:
        raise ValueError(f"{shown(name, QUOTED)} holds no prompt. Write one a line, such as: a photo of <ann> in snow")
    return list(dict.fromkeys(prompts))


def prompt_for(prompt: str, placeholder: str) -> str:
    """A prompt with a persona's own placeholder in its places."""
    for place in PLACES:
        prompt = prompt.replace(place, placeholder)
    return prompt
