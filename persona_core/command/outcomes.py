"""What became of a row, told of the persona or of the error."""

import errno

from ..host.learn.outcome import ENDED, SNR
from ..host.messages import log
from ..persona import Persona
from .results import FAILED, Result, printable
from .rows import Row

FULL = {errno.ENOSPC, errno.EDQUOT}


class DiskFull(OSError):
    """Whatever comes next could not be saved either."""


def told(row: Row, status: str, persona: Persona, path: str) -> Result:
    settings = persona.settings
    batch, snr = settings.get("batch size"), settings.get(SNR)
    return Result(
        row.id,
        status,
        path,
        persona.fingerprint,
        snr=snr if isinstance(snr, float) else None,
        steps=persona.steps,
        passes=persona.steps * batch if isinstance(batch, int) else None,
        error=f"Cut short by {settings[ENDED]}." if ENDED in settings else "",
    )


def failed(row: Row, error: Exception) -> Result:
    return Result(row.id, FAILED, error=sentence_of(error, row.id))


def sentence_of(error: Exception, name: str) -> str:
    """What nobody foresaw is in the log, too, and whose it was."""
    if isinstance(error, (ValueError, OSError, MemoryError, ArithmeticError)) and str(error):
        return printable(str(error))
    log.warning("'%s' failed:", name, exc_info=error)
    return printable(f"{type(error).__name__}: {error}")


def is_full(error: BaseException | None) -> bool:
    """Whether a full disk is behind it."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in FULL:
            return True
        error = error.__cause__
    return False
