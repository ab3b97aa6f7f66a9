"""Pictures of a persona while it is learned, for the editor that looks on, as the host's samplers show theirs."""

import time
from collections.abc import Callable

import comfy.model_management
import torch
from comfy.model_patcher import ModelPatcher
from comfy.sd import VAE
from PIL import Image

from ...charts import forming
from ...preview import Pace, Painter
from ...progress import Progress
from ...task import NOISE, TrainingTask
from ..messages import log, watched
from .latents import decode, of_videos

SPARE = 1.5  # times as much memory as a picture needs must be free: the host must not unload what learns


class Previews:
    """Asked after each step, and now and then shows what was learned so far, where that costs little.

    word: the supercategory. model, vae: MODEL is loaded, and VAE where it still is. show: is given the pictures.
    """

    def __init__(
        self,
        task: TrainingTask,
        word: str,
        model: ModelPatcher,
        vae: VAE,
        show: Callable[[Progress, Image.Image], None],
    ):
        self.painter, self.model, self.vae, self.show = Painter(task, word), model, vae, show
        self.pace, self.off = Pace(self.painter.cost), False

    def __call__(self, progress: Progress) -> None:
        """Raises the host's InterruptProcessingException."""
        if self.off or not self.pace.due(progress) or not watched():
            return
        began = time.monotonic()
        self.paint(progress)
        took = time.monotonic() - began
        progress.aside += took
        self.pace.took(took, progress)

    def paint(self, progress: Progress) -> None:
        """Where that fails, there are none from now on: whatever of, learning must go on."""
        try:
            self.check_memory()
            latents = self.painter.paint(comfy.model_management.throw_exception_if_processing_interrupted)
            with torch.inference_mode():  # which the host loads VAEs in
                decoded = decode(self.model, self.vae, latents)
            picture = forming(decoded[0].float().cpu(), NOISE, progress.losses[NOISE], progress.planned)
            self.show(progress, picture)
            return
        except comfy.model_management.InterruptProcessingException:
            raise
        except Exception as error:
            log.info("Learning goes on without previews: %s", error)
            self.off = True
        # Here, where the error is gone, which held on to all that was computed.
        comfy.model_management.soft_empty_cache()

    def check_memory(self) -> None:
        """Raise MemoryError where little is free, or the host unloads what learns whatever is."""
        if comfy.model_management.DISABLE_SMART_MEMORY:
            raise MemoryError("ComfyUI unloads each model when another is loaded (--disable-smart-memory).")
        shape, vae = self.painter.noise.shape, self.vae
        frames = (*shape[:2], 1, *shape[2:]) if of_videos(self.model) else shape
        decoding = vae.patcher.model_size() + vae.memory_used_decode(frames, vae.vae_dtype)
        painting = self.model.memory_required((2, *shape[1:]))
        for patcher, needed in ((self.model, painting), (vae.patcher, decoding)):
            least = SPARE * needed + comfy.model_management.minimum_inference_memory()
            if comfy.model_management.get_free_memory(patcher.load_device) < least:
                raise MemoryError("little memory is free.")
