"""A persona that was learned from the same inputs before, or is learned now; what was learned is not lost."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from ...consent import Consent
from ...persona import Persona
from .. import store
from .report import Reporter
from .run import TrainingJob, train_persona

MOST_UNSAVED = 16
Form = Callable[[Persona], Persona]

# Learned, but the disk would not take it: kept until learning of the same inputs runs again. Oldest first.
unsaved: dict[str, Persona] = {}


def find_or_train(job: TrainingJob, reuse: bool) -> tuple[Persona, Path, str]:
    """The persona of these inputs, its file, and what to say of it.

    reuse: whether it may be one that was saved before; one that could not be saved is taken in any case. Raises what
    `train_persona` raises, and OSError with a sentence where it cannot be saved.
    """
    fingerprint = job.fingerprint()
    persona, path = store.find(job.name, fingerprint, job.is_kept_by) if reuse else (None, None)
    if persona is not None:
        return persona, path, f"Loaded '{job.name}': it was learned from these inputs before."
    return train_and_save(job, fingerprint)


def train_and_save(job: TrainingJob, fingerprint: str) -> tuple[Persona, Path, str]:
    """Learn, or take what an earlier run learned but could not save, and save it."""
    path = store.path_for(job.name)
    store.check_writable(job.name, path)
    unfinished = unfinished_at(path, fingerprint)
    persona, trouble = unsaved.pop(fingerprint, None), ""
    if persona is None:
        reporter = Reporter(job)
        persona = train_persona(job, fingerprint, unfinished, reporter, reporter.warn, reporter.show)
        trouble = reporter.trouble
    try:
        before, _ = store.find(job.name, fingerprint)
        saved = save(replace(persona, name=job.name), path, before, job.form_of)
    except OSError:
        hold(persona, fingerprint)
        raise
    unfinished.unlink(missing_ok=True)  # that of other inputs stays
    return saved, path, f"Learned '{job.name}'; saved as {path.name}{trouble}"


def unfinished_at(path: Path, fingerprint: str) -> Path:
    """Where the file of unfinished learning lies, beside what will be the persona's."""
    return path.with_name(f".{path.stem}-{fingerprint[:12]}.partial")


def as_it_is(persona: Persona) -> Persona:
    return persona


def save(persona: Persona, path: Path, before: Persona | None, form: Form = as_it_is) -> Persona:
    """Write what was learned, in a form that its file is to have. before: what says to be of the same inputs; if it is,
    its consent stays noted."""
    return store.save(replace(form(persona), consent=agreed(persona, before)), path)


def agreed(persona: Persona, before: Persona | None) -> Consent:
    """The consent that is noted of what was learned: that of `save`'s before, if nobody says otherwise."""
    if before is None or before.consent == Consent() or persona.consent != Consent():
        return persona.consent
    # Its file may only say so. A small one may have been made of the file of a whole one.
    same = any(before.learned == form.learned for form in (persona, persona.small(), persona.as_filed().small()))
    return before.consent if same else persona.consent


def hold(persona: Persona, fingerprint: str) -> None:
    """Keep what could not be saved; of many, the newest, or a queue on a full disk would fill the memory too."""
    unsaved[fingerprint] = persona
    for oldest in list(unsaved)[:-MOST_UNSAVED]:
        del unsaved[oldest]
