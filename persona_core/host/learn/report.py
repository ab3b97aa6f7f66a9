"""How far learning is, in the graph editor and in the log."""

import time

import comfy.model_management
from comfy.utils import ProgressBar

from ...training import Progress
from ..messages import Clock, log, tell, warn
from .run import TrainingJob

PAUSE = 0.5  # seconds between two lines, at least


class Reporter:
    """Tells the artist what is about to happen, then how far it is, and lets Interrupt stop between steps.

    trouble: what every later line ends with, because a node shows only the last one.
    """

    def __init__(self, job: TrainingJob):
        self.trouble = ""
        self.total = job.recipe.learning.steps
        self.bar, self.clock, self.spoken = ProgressBar(self.total), None, 0.0
        height, width = job.photos[0].image.shape[:2]
        count, batch = len(job.photos), job.recipe.learning.batch_size
        pictures = f"{count} picture{'s' * (count != 1)}"
        line = f"Learning '{job.name}': {self.total} steps of {batch}, {width}x{height}, {pictures}; time left follows"
        log.info(line)
        tell(line)

    def __call__(self, progress: Progress) -> None:
        """After each step. Raises the host's InterruptProcessingException."""
        done, now = progress.step, time.monotonic()
        self.clock = self.clock or Clock(self.total, done)
        self.bar.update_absolute(done, self.total)
        if now - self.spoken > PAUSE or done == self.total:
            self.spoken = now
            losses = ", ".join(f"{name} {values[-1]:.4f}" for name, values in progress.losses.items())
            tell(f"step {done}/{self.total}, loss {losses}, {self.clock.left(done) or 'measuring'}{self.trouble}")
        comfy.model_management.throw_exception_if_processing_interrupted()

    def warn(self, trouble: str) -> None:
        """Of what learning does otherwise than it began."""
        warn(trouble)
        self.trouble = f". {trouble}"
