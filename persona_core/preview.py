"""What a persona looks like while it is learned: a small picture now and then, painted with what is learned so far.

Learning is the same with and without: nothing here has a gradient, changes a module, or draws from a generator but the
picture's own. Shapes: latents [1, C, h, w], with C as in learning.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from .noise import add_noise, taken_apart
from .progress import Progress
from .task import TextEncoding, TrainingTask

PROMPT, NEGATIVE = "a photo of a {}", ""
STEPS, GUIDANCE = 8, 4.0
LEAST, CELL = 48, 8  # cells a side that models of 512 pixels still paint well; and what UNets take multiples of
SHARE, PAUSE = 0.1, 1.0  # of the time of learning, for all pictures; and seconds between two, at least
BACKWARD = 2  # a backward pass takes as long as so many forward passes


class Painter:
    """Paints what a training task has learned so far, always from the same noise: so only that changes.

    word: the supercategory, which stands above the stages that are learned, as where personas are applied.
    """

    def __init__(self, task: TrainingTask, word: str):
        self.task, self.word, latents = task, word, task.references.latents
        shape = 1, latents.shape[1], *size_of(*latents.shape[-2:])
        self.noise = torch.randn(shape, generator=torch.Generator().manual_seed(5)).to(latents)

    @property
    def cost(self) -> float:
        """How many steps of learning a picture takes as long as, about."""
        latents = self.task.references.latents
        learned = (1 + BACKWARD) * self.task.settings.batch_size * latents[0].numel()
        return 2 * STEPS * self.noise.numel() / learned

    @torch.no_grad()
    def paint(self, on_step: Callable[[], None] = lambda: None) -> Tensor:
        """Latents as the denoiser takes them, by DDIM (arXiv 2010.02502) with classifier-free guidance. on_step may
        raise to stop."""
        denoiser, latents, device = self.task.denoiser, self.noise, self.noise.device
        # Other packs' patches may draw from the global generators: the CPU's, and the device's if it has one.
        drawing = [device] if hasattr(getattr(torch, device.type, None), "get_rng_state") else []
        with torch.random.fork_rng(drawing, device_type=device.type if drawing else "cpu"):
            ts = denoiser.schedule.spaced(STEPS + 1)
            contexts = self.contexts(ts[:-1])
            for index, (t, then) in enumerate(zip(ts.to(device).split(1), ts.to(device)[1:].split(1)), start=1):
                on_step()
                both = with_the_first(contexts, index)
                given = latents.expand(2, -1, -1, -1), t.expand(2), both.keys, both.values
                plain, prompted = denoiser.predict(*given, pooled=both.pooled).split(1)
                output = torch.lerp(plain, prompted, GUIDANCE)
                clean, noise = taken_apart(denoiser.schedule, latents, output, t)
                latents = add_noise(denoiser.schedule, clean, noise, then)
        return clean

    def contexts(self, ts: Tensor) -> TextEncoding:
        """Of NEGATIVE, and of PROMPT at each timestep."""
        representation, learned = self.task.representation, ts <= self.task.representation.stages.t_hi
        prompts = [PROMPT if one else PROMPT.format(self.word) for one in learned]
        vectors = representation.at(ts[learned].to(self.noise.device))
        return self.task.text.encode([NEGATIVE, *prompts], vectors).to(self.noise.device)


class Pace:
    """When pictures are painted, so that all of them together take SHARE of the time of learning at most.

    guess: what the first one costs, in steps of learning; what one did cost is measured.
    """

    def __init__(self, guess: float):
        self.guess = guess
        self.first: int | None = None  # step that was asked about
        self.next: float | None = None  # seconds of learning

    def due(self, progress: Progress) -> bool:
        """Asked after each step. Not while the photo is only looked at, nor at the end."""
        self.first = self.first or progress.step
        if not progress.step < progress.planned:
            return False
        if self.next is None:
            return SHARE * (progress.step - self.first) >= self.guess
        return progress.seconds >= self.next

    def took(self, seconds: float, progress: Progress) -> None:
        """A picture did."""
        self.next = progress.seconds + max(seconds / SHARE, PAUSE)


def with_the_first(contexts: TextEncoding, row: int) -> TextEncoding:
    """Two rows: the first, and another one."""
    return contexts.changed(lambda tensor: tensor[[0, row]])


def size_of(height: int, width: int) -> tuple[int, int]:
    """Cells of the picture: half as many a side as the photo's, but not below LEAST; in the photo's shape."""
    share = max(LEAST / max(height, width), 0.5)
    if share >= 1:
        return height, width
    return max(CELL, round(height * share / CELL) * CELL), max(CELL, round(width * share / CELL) * CELL)
