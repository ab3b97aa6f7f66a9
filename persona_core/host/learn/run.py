"""Learn a persona with the host's models: from photos to a Persona, interrupted or not."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import comfy.model_management
import torch
from comfy.model_patcher import ModelPatcher
from comfy.sd import CLIP, VAE
from PIL import Image
from torch import Tensor

from ...budget import budget_of
from ...loss_scale import LossScale
from ...mapper import StageMapper
from ...names import starts
from ...noise import log_snr
from ...persona import LAST_LAYER, Persona
from ...photos import Photo
from ...progress import LossNotFinite, Progress
from ...recipes import Beginning, Recipe
from ...task import References, TrainingTask
from ...training import train
from ..clip import text_towers
from ..messages import log, warn
from ..model import compute_dtype
from .adapted_text import text_encoder
from .autograd import differentiable, reads_out
from .denoiser import PIXELS, behaviour_of, model_for_learning
from .fingerprint import Weights
from .fingerprint import fingerprint as fingerprint_of
from .frozen import frozen
from .latents import encode
from .memory import (
    NoRoom,
    can_checkpoint,
    fit_into_memory,
    gradient_checkpointing,
    layers_to_checkpoint,
    out_of_memory,
    smallest,
    unloaded_after,
    ways_to_load,
)
from .offload import outside, placed
from .preview import Previews
from .text import clip_for_learning
from .unfinished import load_progress, save_progress

GIGABYTE = 2**30
LOG_SNR, WENT_ON = "log-SNR at", "went on from"


class TooLittleMemory(MemoryError):
    """Learning does not fit in any way."""


@dataclass(frozen=True)
class TrainingJob:
    """All that goes into learning one persona. photos: cropped and sized alike. image_embeddings: [M, E] or None.
    keep_mapper: whether the file is to have the whole mapper. go_on_from: whose kept mapper learning begins at, once
    `check_goes_on` has seen it."""

    name: str
    model: ModelPatcher
    clip: CLIP
    vae: VAE
    photos: Sequence[Photo]
    recipe: Recipe
    image_embeddings: Tensor | None = None
    keep_mapper: bool = False
    go_on_from: Persona | None = None

    def is_kept_by(self, persona: Persona) -> bool:
        """Whether the file of a persona that was learned from these inputs has what this one's is to have."""
        return not self.keep_mapper or isinstance(persona.representation, StageMapper)

    def fingerprint(self) -> str:
        """The same for the same photos, settings and weights, whatever the persona is called."""
        pictures = [(photo.image, photo.mask) for photo in self.photos]
        names = [f"{tower.path}." for tower in text_towers(self.clip).towers]
        texts = [Weights(self.clip.patcher, name) for name in names]
        weights = Weights(self.model, "diffusion_model."), *texts, Weights(self.vae.patcher)
        behaviour = behaviour_of(self.model), self.clip.layer_idx
        before = [self.go_on_from.learned] if self.go_on_from else []  # others' fingerprints stay what they were
        return fingerprint_of(pictures, self.recipe, self.image_embeddings, weights, behaviour, *before)


def train_persona(
    job: TrainingJob,
    fingerprint: str,
    unfinished: Path,
    on_step: Callable[[Progress], None],
    on_trouble: Callable[[str], None] = warn,
    on_preview: Callable[[Progress, Image.Image], None] | None = None,
) -> Persona:
    """Learn what the recipe asks for: its representation, by its objective.

    unfinished: the file that holds how far learning is; it is read before and removed by the caller after.
    It is written now and then, and whenever learning stops, for whatever reason. on_trouble: is given a sentence when
    learning goes on otherwise than it began. on_preview: is given pictures of what was learned so far; None: there are
    none.
    Raises LossNotFinite, TooLittleMemory, and whatever `on_step` raises.
    """
    model, clip = model_for_learning(job.model), clip_for_learning(job.clip)
    with memory_or_a_sentence(), unloaded_after(model, clip.patcher, job.vae.patcher):
        latents, masks = encode(job.model, job.vae, job.photos)
        ways = ways_to_load([model, clip.patcher])
        for off in ways:
            given = replace(job, model=model, clip=clip), latents, masks, off, off is ways[-1]
            try:
                return learn(*given, fingerprint, unfinished, on_step, on_trouble, on_preview)
            except Exception as error:
                if off is ways[-1] or not out_of_memory(error):
                    raise
                tried = not isinstance(error, NoRoom)
            # Here, where the error is gone, which held on to all that was computed.
            comfy.model_management.soft_empty_cache()
            if tried:
                on_trouble("Out of memory: goes on with weights that are on the device only while they are used.")
    raise AssertionError  # there is a last way


def learn(
    job: TrainingJob,
    latents: Tensor,
    masks: Tensor,
    off: Sequence[ModelPatcher],
    last: bool,
    fingerprint: str,
    unfinished: Path,
    on_step: Callable[[Progress], None],
    on_trouble: Callable[[str], None],
    on_preview: Callable[[Progress, Image.Image], None] | None,
) -> Persona:
    """See `train_persona`. job: with models that are for learning. off: those that stay off the device. last: whether
    there is no other way. Raises NoRoom, too."""
    recipe, model, clip = job.recipe, job.model, job.clip
    patchers, towers = (model, clip.patcher), text_towers(clip)
    with differentiable(*patchers, dtype=compute_dtype(model), off=off):
        denoiser = frozen(model, math.prod(latents.shape[-2:]))
        device = denoiser.device
        images = None if job.image_embeddings is None else job.image_embeddings.clone()
        word = towers.word(recipe.supercategory)
        start = starts(recipe.tokens, word, towers.known) if recipe.starts_at_names else None
        twice = clip.patcher in off or (reads_out(clip.patcher.model) and can_checkpoint(clip.patcher.load_device))
        text = text_encoder(model, clip, recipe.tokens, recipe.supercategory, denoiser.dtype, twice)
        output = text.output_of(word)
        kept = job.go_on_from and job.go_on_from.representation
        beginning = Beginning(word, images, towers.widths, start, output, kept)
        representation = recipe.representation(beginning).to(device)
        references = References(latents.clone().to(device).float(), masks.clone().to(device).float())
        objective, settings = recipe.objective(towers.word), recipe.learning
        text.check(objective.prompts)
        task = TrainingTask(representation, references, text, denoiser, objective, settings)
        progress = load_progress(unfinished, fingerprint, task) or Progress()
        previews = on_preview and Previews(task, recipe.supercategory, model, job.vae, on_preview)

        def after_step(progress: Progress) -> None:
            on_step(progress)
            if previews:
                previews(progress)

        def save_unfinished(progress: Progress) -> None:
            if progress.step:
                save_progress(unfinished, progress, fingerprint)

        try:
            train_in_memory(task, patchers, progress, after_step, save_unfinished, on_trouble, off, last)
        except LossNotFinite as error:
            raise LossNotFinite(
                f"Learning '{job.name}' stopped because {error}. Try a lower learning rate; if it happens in "
                "the first steps, the checkpoint or VAE does not compute well in this precision: start ComfyUI "
                "with --fp32-vae or --force-fp32."
            ) from error
        if not progress.in_time:
            on_trouble(
                f"Learning ended after its {settings.minutes:g} minutes, before it was done: allow more minutes, "
                "or lower the resolution."
            )
    return Persona(
        name=job.name,
        representation=representation.cpu().exported().requires_grad_(False),
        family=towers.family,
        supercategory=recipe.supercategory,
        settings={
            **recipe.settings(),
            **found(task, progress),
            **({WENT_ON: job.go_on_from.name} if job.go_on_from else {}),
            LAST_LAYER: towers.last_layer(clip.layer_idx),
        },
        losses=progress.losses,
        fingerprint=fingerprint,
    )


@contextmanager
def memory_or_a_sentence() -> Iterator[None]:
    """Raises TooLittleMemory where memory is used up before learning begins, which cannot go on with less then."""
    try:
        yield
    except Exception as error:
        if isinstance(error, TooLittleMemory) or not out_of_memory(error):
            raise
        raise TooLittleMemory(
            "Learning needs more memory than there is: the checkpoint and the photos do not fit. Lower the resolution, "
            "or close what else uses this memory."
        ) from error


def found(task: TrainingTask, progress: Progress) -> dict[str, object]:
    """What Persona Info tells of how learning went."""
    meter, again = progress.meters
    told: dict[str, object] = {"steps": progress.step, **stage_as_noise(task)}
    if task.settings.measured:
        told["learning rate"] = float(f"{budget_of(task).highest_rate(progress):.3g}")
    if task.settings.measured or meter.sure:
        told["signal to noise of one picture"] = round(meter.signal_to_noise, 3)
        if math.isfinite(meter.directions):
            told["directions of chance"] = max(1, round(meter.directions))
    if again.count:
        told["and at the second look"] = round(again.signal_to_noise, 3)
    if not progress.in_time:
        told["ended by"] = f"its {task.settings.minutes:g} minutes"
    for name, pull in progress.pulls.items() if meter.pull else ():
        if name not in task.objective.relative:  # which pull as hard as they are told to
            told[f"pull of the {name} loss, the photo's being 1"] = float(f"{pull / meter.pull:.3g}")
    return told


def stage_as_noise(task: TrainingTask) -> dict[str, object]:
    """The stage's ends in what means the same in every model."""
    stages = task.representation.stages
    with torch.inference_mode(False):  # as the schedule was made
        ends = torch.tensor([stages.t_lo, stages.t_hi], device=task.references.latents.device)
        ratios = log_snr(task.denoiser.schedule, ends).tolist()
    return {f"{LOG_SNR} {name}": round(one, 3) for name, one in zip(("t_lo", "t_hi"), ratios) if math.isfinite(one)}


def train_in_memory(
    task: TrainingTask,
    patchers: Sequence[ModelPatcher],
    progress: Progress,
    on_step: Callable[[Progress], None],
    save: Callable[[Progress], None],
    on_trouble: Callable[[str], None] = warn,
    off: Sequence[ModelPatcher] = (),
    last: bool = True,
) -> None:
    """`train` in the memory there is; and if that was misjudged, say so and go on from there with what needs least.

    patchers: of the models. off: those that stay off the device. Raises TooLittleMemory, and NoRoom unless this is the
    last way.
    """
    denoiser, rows = task.denoiser, task.settings.batch_size
    layers = layers_to_checkpoint(denoiser.diffusion_model, denoiser.device)
    whole = denoiser.patcher not in off
    first, room = fit_into_memory(task, patchers, off, last)
    for fitted in dict.fromkeys((first, smallest(layers, () if whole else layers))):
        how = (
            f"{fitted.micro_batch} of {rows} pictures at once, {len(fitted.checkpointed)} of {len(layers)} layers "
            "computed twice"
        )
        if off:
            text = ", the text encoder" if any(patcher is not denoiser.patcher for patcher in off) else ""
            how += f"; off the device but for their turns{text}, {len(fitted.lent)} of {len(layers)} layers"
        log.info("Learning in %s and %.1f GB: %s", denoiser.dtype, room / GIGABYTE, how)
        if fitted != first:
            back = f"back to step {progress.kept + 1}, as what came after could not be kept,"
            where = "on from there" if progress.kept == progress.step else back
            on_trouble(f"Out of memory at step {progress.step + 1}: goes {where} with {how}.")
        scale = LossScale(enabled=denoiser.dtype == torch.float16)
        resident = () if whole else outside(denoiser.patcher.model, fitted.lent)
        try:
            with placed(resident, denoiser.device), gradient_checkpointing(fitted.checkpointed):
                train(task, progress, on_step, save, scale, fitted.micro_batch)
            return
        except Exception as error:
            if not out_of_memory(error):
                raise
        # Here, where the error is gone, which held on to all that was computed.
        comfy.model_management.soft_empty_cache()
    kept = f"How far it was after step {progress.kept}" if progress.kept else "Nothing that was learned"
    height, width = (PIXELS * side for side in task.references.latents.shape[-2:])
    raise TooLittleMemory(
        f"Learning needs more memory than there is: one picture of {width}x{height} pixels at a time does not fit, "
        "even with every layer computed twice. Lower the resolution, or close what else uses this memory. "
        f"{kept} is kept."
    )
