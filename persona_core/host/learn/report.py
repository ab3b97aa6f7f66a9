"""How far learning is, in the graph editor and in the log."""

import time

import comfy.model_management
from comfy.cli_args import args
from comfy.utils import ProgressBar
from PIL import Image

from ...progress import Progress
from ..messages import Clock, log, tell, warn
from .run import TrainingJob

PAUSE = 0.5  # seconds between two lines, at least


class Reporter:
    """Tells the artist what is about to happen, then how far it is, and lets Interrupt stop between steps.

    trouble: what every later line ends with, because a node shows only the last one.
    """

    def __init__(self, job: TrainingJob):
        self.trouble = ""
        learning = job.recipe.learning
        self.bar, self.clock, self.spoken = ProgressBar(learning.steps), None, 0.0
        height, width = job.photos[0].image.shape[:2]
        count, self.measured = len(job.photos), learning.measured
        pictures = f"{count} picture{'s' * (count != 1)}"
        steps = f"{'at most ' * learning.measured}{learning.steps} steps of {learning.batch_size}"
        line = f"Learning '{job.name}': {steps}, {width}x{height}, {pictures}; time left follows"
        log.info(line)
        tell(line)

    def __call__(self, progress: Progress) -> None:
        """After each step. Raises the host's InterruptProcessingException."""
        done, total, now = progress.step, progress.planned, time.monotonic()
        if total:
            self.clock = self.clock or Clock(done)
            self.bar.update_absolute(done, total)
        if now - self.spoken > PAUSE or done == total:
            self.spoken = now
            losses = ", ".join(f"{name} {values[-1]:.4f}" for name, values in progress.losses.items())
            how_far = f"looking at the photo: {progress.meter.count} times, loss {losses}, time left follows"
            if total:
                words = ", ".join(filter(None, ("likeness forming", self.clock.left(done, total))))
                how_far = f"{words}: step {done}/{total}{self.signal(progress)}, loss {losses}"
            tell(f"{how_far}{self.trouble}")
        comfy.model_management.throw_exception_if_processing_interrupted()

    def show(self, progress: Progress, picture: Image.Image) -> None:
        """On the node, as a sampler's previews. Raises as __call__ does."""
        self.bar.update_absolute(progress.step, progress.planned, ("JPEG", picture, args.preview_size))

    def signal(self, progress: Progress) -> str:
        """What the planned steps follow from."""
        signal = progress.meter.signal_to_noise if self.measured else 0.0
        return f" (a look at the photo is {signal / (1 + signal):.0%} signal)" if signal else ""

    def warn(self, trouble: str) -> None:
        """Of what learning does otherwise than it began."""
        warn(trouble)
        self.trouble += f". {trouble}"
