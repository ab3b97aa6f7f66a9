"""Learning in benchmarks: one run, which is tried out after some of its steps, and how large what it leaves is."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from bench.rivals import StaticVector
from persona_core.host.learn.run import TrainingJob, train_persona
from persona_core.persona import Persona
from persona_core.photos import Photo
from persona_core.progress import Progress
from persona_core.recipes import Recipe


def learned(
    models: tuple,
    recipe: Recipe,
    photos: Sequence[Photo],
    after: Sequence[int],
    unfinished: Path,
    fingerprint: str = "bench",
    on_step: Callable[[Progress], None] = lambda progress: None,
) -> Iterator[tuple[int, float, Persona]]:
    """The persona after each of these steps of one run, or as many as it needed, with the seconds that learning took
    until then.

    unfinished: the file that holds how far learning is, of this fingerprint; it goes on from there.
    """
    seconds = 0.0
    for steps in after:
        longer = replace(recipe, learning=replace(recipe.learning, steps=steps))
        began = time.monotonic()
        persona = train_persona(TrainingJob("ann", *models, photos, longer), fingerprint, unfinished, on_step)
        seconds += time.monotonic() - began
        yield persona.steps, seconds, persona


def file_size(persona: Persona) -> int:
    """Bytes on disk; of Textual Inversion, which the pack has no file for, the vector's."""
    if isinstance(persona.representation, StaticVector):
        return 2 * persona.representation.vector.numel()
    return len(persona.to_bytes())
