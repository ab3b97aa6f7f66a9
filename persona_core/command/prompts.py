"""A file of prompts: one a line, in each a place for the persona."""

import re
from pathlib import Path

from ..files import LONGEST, QUOTED, shown
from .storage import is_url, read_bytes

PLACES = "<ann>", "{}"  # in a prompt, of whichever persona it is painted with
COMMENT = "#"


def read_prompts(place: str) -> list[str]:
    """Each once, in order, with the first of PLACES for any. Raises ValueError with a sentence."""
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
        try:
            prompts.append(prompt_for(prompt, PLACES[0]))
        except ValueError as error:
            raise ValueError(f"Line {number} of {shown(name, QUOTED)}: {error}") from None
    if not prompts:
        raise ValueError(f"{shown(name, QUOTED)} holds no prompt. Write one a line, such as: a photo of <ann> in snow")
    return list(dict.fromkeys(prompts))


def prompt_for(prompt: str, placeholder: str) -> str:
    """A prompt with a persona's own placeholder in its places. Raises ValueError with a sentence."""
    text = re.sub("|".join(map(re.escape, PLACES)), lambda place: placeholder, prompt)  # a placeholder may hold one
    if len(text) > LONGEST:
        raise ValueError(f"The prompt {shown(text)} has {len(text)} letters. Use at most {LONGEST}.")
    return text
