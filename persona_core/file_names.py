"""What a persona may be called, so that every system keeps the file, and names that some system takes for one."""

import re
import unicodedata
from pathlib import PurePosixPath

from .files import QUOTED, shown
from .kept import EXTENSION, KEPT
from .letters import INVISIBLE, TURNING

# What Windows takes for a device, whatever follows a dot; and marks that let a name read otherwise than it is.
RESERVED = {"CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$", "CLOCK$"}
RESERVED |= {f"{kind}{digit}" for kind in ("COM", "LPT") for digit in "0123456789¹²³"}
DEEPEST = 16  # folders in a name


def check_name(name: str, folders: bool) -> str:
    """A persona's name without its extension, composed as keyboards write it: it has no twin that looks the same.
    folders: whether "friends/ann" is one. Raises ValueError."""
    composed = with_slashes(unicodedata.normalize("NFC", name).strip())
    parts = PurePosixPath(composed.removesuffix(EXTENSION)).parts
    if not parts:
        raise ValueError("The persona's name is empty. Give it one, such as 'ann': the file will be ann.safetensors.")
    if len(parts) > 1 and not folders:
        raise ValueError(
            f"The name {shown(name, QUOTED)} must be a plain name without folders, such as {shown(parts[-1])}. Save "
            "Persona can put it into a sub-folder."
        )
    if len(parts) > DEEPEST:
        raise ValueError(f"The name {shown(name)} has {len(parts) - 1} folders. Use at most {DEEPEST - 1}.")
    for part in parts:
        if (
            re.search(r"[<>:\"/\\|?*\x00-\x1f\x7f-\x9f]", part)
            or any(unicodedata.category(one) == "Cs" or one in TURNING + INVISIBLE for one in part)
            or len(part.encode(errors="replace")) > 120
            or part[0] in " ."
            or part[-1] in " ."
            or part.split(".")[0].strip().upper() in RESERVED
        ):
            raise ValueError(
                f"{shown(part)} in the name {shown(name)} cannot be a file's name everywhere. Use letters, digits, "
                "spaces, '-' and '_'."
            )
    if as_kept := re.fullmatch(f"(.+?)(?:{KEPT})+", parts[-1]):
        raise ValueError(
            f"The name {shown(name)} is how a kept copy of {shown(as_kept[1])} is called, which lists leave out and "
            "which goes where that is forgotten. Use another, without the dot."
        )
    return "/".join(parts)


def is_hidden(file: str) -> bool:
    """Whether lists leave it out: other systems put such files beside each they copy, and nothing reads one whose name
    is no text."""
    hidden = any(part.startswith(".") for part in PurePosixPath(with_slashes(file)).parts)
    return hidden or any(unicodedata.category(one) == "Cs" for one in file)


def with_slashes(file: str) -> str:
    """Lists of Windows have others."""
    return file.replace("\\", "/")


def alike(file: str, other: str) -> bool:
    """Whether two names in lists are one name on some system."""
    one, two = (unicodedata.normalize("NFC", with_slashes(name)).casefold() for name in (file, other))
    return one == two
