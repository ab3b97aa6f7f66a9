"""Letters that nobody sees, or that let a line read otherwise than it is."""

import unicodedata

TURNING = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
INVISIBLE = "\u00ad\u034f\u200b\u2028\u2029\u2060\ufeff"  # joiners are left: languages and emoji need them
ACTING = "Cc", "Cs", "Zl", "Zp"  # categories of what ends a line, or tells a terminal to do something


def one_line(text: object) -> str:
    """What others have written, with escapes for what would do something where it is shown. Joined emoji and all
    languages are left as they are."""
    return "".join(escaped(one) if unicodedata.category(one) in ACTING or one in TURNING else one for one in str(text))


def escaped(letter: str) -> str:
    return letter.encode("unicode_escape").decode()
