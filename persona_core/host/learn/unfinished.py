"""The file of learning that is not finished."""

import json
from pathlib import Path

from safetensors.torch import save as to_bytes

from ...files import read_safetensors, write_whole
from ...progress import Progress, check_fit
from ...schema import CHECKSUM, check_progress, checksum
from ...task import TrainingTask
from ..messages import log

PROGRESS_FORMAT = "progress/10"  # those of other versions are begun anew


def save_progress(path: Path, progress: Progress, fingerprint: str) -> None:
    """Write how far learning is. A disk that is full costs only the chance to go on later, so it stops nothing."""
    losses = json.dumps(progress.losses)
    metadata = {"format": PROGRESS_FORMAT, "losses": losses, "fingerprint": fingerprint}
    metadata[CHECKSUM] = checksum(progress.tensors, metadata)
    try:
        write_whole(path, to_bytes(progress.tensors, metadata))
    except OSError as error:
        log.warning("How far learning is could not be written to %s: %s", path, error)


def load_progress(path: Path, fingerprint: str, task: TrainingTask | None = None) -> Progress | None:
    """How far a learning run of the same inputs came, or None. A file from which learning cannot go on counts as none:
    it would stop learning again at every try, until somebody finds and deletes it. task: that is to go on; without it
    the file is only looked at."""
    try:
        metadata, tensors = read_safetensors(path)
        if (metadata.get("format"), metadata.get("fingerprint")) != (PROGRESS_FORMAT, fingerprint):
            return None
        progress = Progress(check_progress(metadata, tensors), tensors)
        if task:
            check_fit(progress, task)
        return progress
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:  # PersonaFileError is one
        log.warning("Learning begins anew: how far it was, in %s, cannot be used: %s", path, error)
        return None
