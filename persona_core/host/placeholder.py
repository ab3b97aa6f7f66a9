"""What a placeholder may be, and where a prompt holds it."""

import re
import unicodedata
from collections.abc import Iterable

from ..files import QUOTED, shown

UNSPACED = ("CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR", "TIBETAN")  # as Unicode names letters


def check_placeholder(placeholder: str, taken: Iterable[str]) -> None:
    said = shown(placeholder, QUOTED)
    if not placeholder.strip() or placeholder != placeholder.strip():
        raise ValueError(
            f"The placeholder {said} must not be empty or begin or end with a space. Use a word such as <ann>."
        )
    if any(character in placeholder for character in "():\\"):
        raise ValueError(
            f"The placeholder {said} must not hold brackets, colons or backslashes: prompts use them for "
            "weights. Use a word such as <ann>."
        )
    if any(character.isspace() or not character.isprintable() or character in "\"'`=" for character in placeholder):
        raise ValueError(
            f"The placeholder {said} must be one word, without spaces, quotes or '='. Use a word such as <ann>."
        )
    if not any(character.isalpha() for character in placeholder):
        raise ValueError(f"The placeholder {said} must hold a letter. Use a word such as <ann>.")
    for other in taken:
        if placeholder in other or other in placeholder:
            raise ValueError(
                f"The placeholder {said} cannot be told from '{other}', which an earlier Apply uses. Give "
                "each persona its own, such as <ann> and <bob>."
            )


def stands_alone(character: str) -> bool:
    """Whether a word ends at it by itself: at the brackets of <ann>, and in scripts that put no space between words."""
    return not character.isalnum() or unicodedata.name(character, "").startswith(UNSPACED)


def whole(placeholder: str) -> str:
    """A pattern for the placeholder, but not for its letters within a longer word: "ann" is not in "planned"."""
    before = "" if stands_alone(placeholder[0]) else r"(?<!\w)"
    after = "" if stands_alone(placeholder[-1]) else r"(?!\w)"
    return before + re.escape(placeholder) + after
