"""What a persona's file must be: checked from its header, before a tensor is read or anything of its size is made.

Whoever shares a file decides what is in it. So every count has a limit, and every string a length.
"""

import hashlib
import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .consent import LINES, Consent
from .files import LONGEST, Shape, line, shown
from .stages import Stages

WIDEST, MOST_TOKENS, MOST_ENCODERS = 2**15, 64, 8
MOST_ENTRIES, MOST_LOSSES = 200, 100_000  # settings or loss terms, losses of a term
LARGEST_NUMBER = 1e4  # in fp16 there are none above 65504
KEPT_AS = torch.float32, torch.float64, torch.int64  # numbers of unfinished learning
CHECKSUM = "checksum"  # in metadata; files of before have none
MEANING = "format", "kind", "family", "supercategory", "tokens", "stages", "widths", "losses", "fingerprint"


@dataclass(frozen=True)
class Metadata:
    """A persona's, read and checked."""

    name: str
    placeholder: str
    family: str
    supercategory: str
    tokens: int
    stages: Stages
    widths: tuple[int, ...]
    settings: dict[str, object]
    losses: dict[str, list[float]]
    fingerprint: str
    consent: Consent

    @classmethod
    def of(cls, metadata: Mapping[str, str]) -> "Metadata":
        """Raises ValueError with what is wrong, in few words."""
        found: dict[str, Any] = {}
        for name, (read, otherwise) in TABLE.items():
            text = metadata.get(name, otherwise)
            if text is None:
                raise ValueError(f"it does not tell its {name}")
            try:
                found[name] = read(text)
            except (ValueError, TypeError, OverflowError, RecursionError) as error:
                raise ValueError(f"its {name} {error}") from error
        return cls(**found)


def named(text: str) -> str:
    if not line(text).strip():
        raise ValueError("is empty")
    return text


def word(text: str) -> str:
    """A placeholder: one that is none is made of the name, as in files of before."""
    return text if len(text) <= LONGEST and text.isprintable() and re.fullmatch(r"\S+", text) else ""


def count(text: str) -> int:
    if not re.fullmatch(r"\d{1,9}", text) or not 1 <= int(text) <= MOST_TOKENS:
        raise ValueError(f"are {shown(text)}, not 1 to {MOST_TOKENS}")
    return int(text)


def stages(text: str) -> Stages:
    ends = parsed(text)
    if not isinstance(ends, list) or len(ends) != 2 or not all(type(end) is int for end in ends):
        raise ValueError(f"are {shown(text)}, not two timesteps")
    return Stages(*ends)


def widths(text: str) -> tuple[int, ...]:
    found = parsed(text)
    if not isinstance(found, list) or len(found) > MOST_ENCODERS or not all(type(one) is int for one in found):
        raise ValueError(f"are {shown(text)}, not the widths of text encoders")
    if not all(1 <= one <= WIDEST for one in found):
        raise ValueError(f"are {shown(text)}, not 1 to {WIDEST}")
    return tuple(found)


def settings(text: str) -> dict[str, object]:
    found = entries(text)
    for name, value in found.items():
        if not is_plain(name, value):
            raise ValueError(f"have no plain value for {shown(name)}")
    return found


def is_plain(name: str, value: object) -> bool:
    return isinstance(value, (str, int, float, bool, type(None))) and len(f"{name}{value}") <= LONGEST


def losses(text: str) -> dict[str, list[float]]:
    found = entries(text)
    for name, values in found.items():
        right = isinstance(values, list) and 0 < len(values) <= MOST_LOSSES
        if not right or not all(type(one) in (int, float) and math.isfinite(one) for one in values):
            raise ValueError(f"of {shown(name)} are no list of finite numbers")
    return found


def fingerprint(text: str) -> str:
    """It becomes part of a file's name."""
    if not re.fullmatch(r"[0-9a-f]{0,64}", text):
        raise ValueError(f"is {shown(text)}, not hexadecimal")
    return text


def consent(text: str) -> Consent:
    """What a later version wrote beside is kept, whatever it is."""
    if len(text) > LONGEST or text.count("[") + text.count("{") > MOST_ENTRIES:
        raise ValueError(f"is longer or deeper than a note ({shown(text)})")
    found = entries(text)
    try:
        json.dumps(found, allow_nan=False)
    except ValueError:
        raise ValueError(f"is {shown(text)}, with a number that is none") from None
    known = {name: found.pop(name) for name in LINES if name in found}
    return Consent(**known, later=found)


def entries(text: str) -> dict[str, Any]:
    found = parsed(text)
    if not isinstance(found, dict) or len(found) > MOST_ENTRIES:
        raise ValueError(f"are {shown(text)}, no table of at most {MOST_ENTRIES}")
    return found


def parsed(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError(f"are {shown(text)}, no JSON") from None


# How each is read, and what stands for it in files that do not have it; None: it must be there.
TABLE: dict[str, tuple[Callable[[str], Any], str | None]] = {
    "name": (named, None),
    "placeholder": (word, ""),
    "family": (named, None),
    "supercategory": (named, None),
    "tokens": (count, None),
    "stages": (stages, None),
    "widths": (widths, "[]"),
    "settings": (settings, None),
    "losses": (losses, None),
    "fingerprint": (fingerprint, None),
    "consent": (consent, "{}"),
}


def check_layout(found: Mapping[str, Shape], expected: Mapping[str, Shape]) -> None:
    """Raise ValueError where a file's tensors have other names or shapes than they must."""
    for name in sorted({*found, *expected}):
        if name not in expected:
            raise ValueError(f"it holds a tensor {shown(name)} that no persona of its kind has")
        if found.get(name) != expected[name]:
            told = "is missing" if name not in found else f"is {shown(list(found[name]))}"
            raise ValueError(f"its tensor {name} {told}, not {list(expected[name])}")


def check_widths(metadata: Metadata, width: int) -> None:
    """Raise ValueError where the family or the text encoders' widths do not fit a word of `width` numbers."""
    if metadata.widths and sum(metadata.widths) != width:
        raise ValueError(f"its text encoders are {list(metadata.widths)} wide, its word has {width} numbers")
    told = re.search(r", (\d{1,9}) wide\)$", metadata.family)
    if told and int(told[1]) != width:
        raise ValueError(f"its family is {told[1]} wide, its word has {width} numbers")


def check_progress(metadata: Mapping[str, str], tensors: Mapping[str, Tensor]) -> dict[str, list[float]]:
    """The losses of unfinished learning. Raises ValueError where no learning could go on from there."""
    if CHECKSUM not in metadata:
        raise ValueError("it has no checksum")
    check_sum(tensors, metadata)
    found = losses(metadata.get("losses", ""))
    if len({len(values) for values in found.values()}) != 1:
        raise ValueError("its losses are not of as many steps each")
    for name, value in tensors.items():
        if value.dtype not in KEPT_AS or not value.isfinite().all():
            raise ValueError(f"its {shown(name)} holds no finite numbers")
    return found


def check_numbers(tensors: Mapping[str, Tensor]) -> None:
    """Raise ValueError for tensors whose numbers cannot be what was learned."""
    for name, value in tensors.items():
        if not value.is_floating_point() or not value.isfinite().all() or value.abs().max() > LARGEST_NUMBER:
            raise ValueError(f"its tensor {name} holds what are no sane numbers")


def checksum(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    """Of all numbers, and of what in the metadata decides what they mean."""
    digest = hashlib.sha256(json.dumps([metadata.get(name) for name in MEANING]).encode())
    for name in sorted(tensors):
        value = tensors[name].detach().cpu().contiguous()
        digest.update(json.dumps([name, str(value.dtype), list(value.shape)]).encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def check_sum(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Raise ValueError where a file says a checksum that it does not have, or has lost it: those of before, which have
    none, say nothing else that is not known."""
    unknown = sorted(set(metadata) - {"format", "kind", *TABLE})
    if CHECKSUM not in metadata and unknown:
        raise ValueError(f"it has no checksum, but a {shown(unknown[0])}")
    if CHECKSUM in metadata and metadata[CHECKSUM] != checksum(tensors, metadata):
        raise ValueError("it is not what was saved: its checksum is another")
