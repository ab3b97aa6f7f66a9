"""What others have written, as it is shown on a terminal."""

import unicodedata

from ..letters import TURNING

ACTING = "Cc", "Cs", "Zl", "Zp"  # categories of what ends a line, or tells a terminal to do something


def one_line(text: object) -> str:
    """With escapes for what would do something. Joined emoji and all languages are left as they are."""
    return "".join(escaped(one) if unicodedata.category(one) in ACTING or one in TURNING else one for one in str(text))


def escaped(letter: str) -> str:
    return letter.encode("unicode_escape").decode()
