"""Who agreed that a persona is used: a note in its file. It is no proof, since whoever has the file can write it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any

from .files import line, shown

LONGEST = 200  # letters
LINES = "by", "on", "purpose", "until"


@dataclass(frozen=True)
class Consent:
    """Lines, empty where nobody said so. by: who agreed. on, until: the day, and the last one, as 2026-11-27.
    purpose: for what. later: what a later version of the pack wrote beside, which is kept as it is.

    Raises ValueError with what is wrong, in few words.
    """

    by: str = ""
    on: str = ""
    purpose: str = ""
    until: str = ""
    later: Mapping[str, object] = field(default_factory=dict, hash=False)

    def __post_init__(self):
        for name, text in self.lines().items():
            if not isinstance(text, str) or text != text.strip():
                raise ValueError(f"has {shown(text)} for '{name}', which is no line of text")
            line(text, LONGEST)
        for name, day in {"on": self.on, "until": self.until}.items():
            if day and not is_day(day):
                raise ValueError(f"has {shown(day)} for '{name}', which is no date such as 2026-11-27")
        if not self.by and any(self.lines().values()):
            raise ValueError("does not say who agreed")

    def __bool__(self) -> bool:
        return bool(self.by)

    def __str__(self) -> str:
        """As "Ann Smith, on 2026-11-27, for portraits, until 2027-11-27"."""
        told = {"on": self.on, "for": self.purpose, "until": self.until}
        return ", ".join([self.by, *(f"{word} {text}" for word, text in told.items() if text)])

    def lines(self) -> dict[str, str]:
        return {name: getattr(self, name) for name in LINES}

    def fields(self) -> dict[str, object]:
        """What was said, by name."""
        return {**self.later, **{name: text for name, text in self.lines().items() if text}}

    def changed(self, by: str, on: str, purpose: str, until: str) -> "Consent":
        """With what is said now. What is empty stays, if it is the same who agrees; who says no day agrees today."""
        said: dict[str, Any] = {"by": by.strip(), "on": on.strip(), "purpose": purpose.strip(), "until": until.strip()}
        before = self if not self or said["by"] in ("", self.by) else Consent()
        now = replace(before, **{name: text for name, text in said.items() if text})
        return now if now.on or not now else replace(now, on=date.today().isoformat())

    def lacking(self, today: date) -> str:
        """Why it is no consent today, to follow "because"; "" where it is one."""
        if not self:
            return "no consent is noted in its file"
        if self.until and date.fromisoformat(self.until) < today:
            return f"its consent ended on {self.until}"
        return ""


def is_day(text: str) -> bool:
    try:
        return bool(re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text) and date.fromisoformat(text))
    except ValueError:
        return False
