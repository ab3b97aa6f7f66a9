"""Where the time of a learning step goes, told from the step itself."""

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from bench.stopwatch import wait

TEXT, UNET, LOSS, OPTIMIZER, REST = PARTS = "text encoder", "UNet", "loss terms", "optimizer", "the rest"


class Watch:
    """Stands in for the text encoder and the denoiser of `training.train`.

    What passed since the last lap goes to the part that just ended. In the backward pass a part ends when the gradient
    of what it was given is known: autograd goes back in the order in which things were computed, so parts do not mix.
    """

    def __init__(self, text, denoiser):
        self.text, self.denoiser = text, denoiser
        self.spent, self.since = Counter(), 0.0

    def __getattr__(self, name: str):
        return getattr(self.denoiser, name)  # schedule

    def lap(self, part: str) -> None:
        wait()
        now = time.perf_counter()
        self.spent[part] += now - self.since
        self.since = now

    def lap_when_back(self, part: str, *tensors: Tensor | None) -> None:
        for tensor in tensors:
            if tensor is not None and tensor.requires_grad:
                tensor.register_hook(lambda gradient: self.lap(part))

    def encode(self, prompts, vectors, rich=()):
        self.lap_when_back(TEXT, vectors.keys, vectors.values, vectors.bypass)
        self.lap(REST)
        encoding = self.text.encode(prompts, vectors, rich)
        self.lap(TEXT)
        self.lap_when_back(UNET, encoding.keys, encoding.values)
        return encoding

    def predict(self, *seen, **named):
        self.lap(REST)
        prediction = self.denoiser.predict(*seen, **named)
        self.lap(UNET)
        self.lap_when_back(LOSS, prediction)
        return prediction

    def predict_watched(self, *seen, **named):
        self.lap(REST)
        prediction, attentions = self.denoiser.predict_watched(*seen, **named)
        self.lap(UNET)
        self.lap_when_back(LOSS, prediction)
        return prediction, attentions

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Within, time is told. What is left at the end is the rest."""
        hooks = (
            register_optimizer_step_pre_hook(lambda *_: self.lap(REST)),
            register_optimizer_step_post_hook(lambda *_: self.lap(OPTIMIZER)),
        )
        self.spent = Counter()
        wait()
        self.since = time.perf_counter()
        try:
            yield
            self.lap(REST)
        finally:
            for hook in hooks:
                hook.remove()

    def shares(self) -> dict[str, float]:
        """Of each part in the time since watching began."""
        return {part: self.spent[part] / self.spent.total() for part in PARTS}
