"""Learn personas with the host's models: from photos to a Persona, interrupted or not."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import comfy.model_management
import torch
from comfy.model_patcher import ModelPatcher
from comfy.sd import CLIP, VAE
from PIL import Image
from torch import Tensor

from ...loss_scale import LossScale
from ...mapper import StageMapper
from ...persona import LAST_LAYER, Persona
from ...photos import Photo
from ...progress import LossNotFinite, Progress
from ...recipes import Recipe
from ...training import Learning
from ..messages import warn
from ..model import compute_dtype
from .autograd import differentiable
from .denoiser import behaviour_of, model_for_learning
from .fingerprint import fingerprint as fingerprint_of
from .fingerprint import weights_in
from .in_memory import Lesson, TooLittleMemory, train_in_memory
from .latents import encode
from .loaded import LoadedModels
from .memory import NoRoom, out_of_memory, unloaded_after, ways_to_load
from .outcome import found
from .preview import Previews
from .text import clip_for_learning
from .unfinished import load_progress, save_progress

WENT_ON = "went on from"  # in a persona's settings


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

    def form_of(self, persona: Persona) -> Persona:
        """As its file is to have it."""
        return persona if self.keep_mapper else persona.small()

    def fingerprint(self) -> str:
        """The same for the same photos, settings and weights, whatever the persona is called."""
        pictures = [(photo.image, photo.mask) for photo in self.photos]
        weights = weights_in(self.model, self.clip, self.vae)
        behaviour = behaviour_of(self.model), self.clip.layer_idx
        before = [self.go_on_from.learned] if self.go_on_from else []  # others' fingerprints stay what they were
        return fingerprint_of(pictures, self.recipe, self.image_embeddings, weights, behaviour, *before)


@dataclass(frozen=True, eq=False)
class Wanted:
    """A job that is to be learned now.

    unfinished: the file that holds how far learning is; it is read before and removed by the caller after. It is
    written now and then, and whenever learning stops, for whatever reason. on_step: may raise to stop. on_trouble: is
    given a sentence when learning goes on otherwise than it began. on_preview: is given pictures of what was learned so
    far; None: there are none.
    """

    job: TrainingJob
    fingerprint: str
    unfinished: Path
    on_step: Callable[[Progress], None] = lambda progress: None
    on_trouble: Callable[[str], None] = warn
    on_preview: Callable[[Progress, Image.Image], None] | None = None


@dataclass(frozen=True, eq=False)
class Encoded:
    """The same, its photos as latents [M, C, h, w] and masks [M, 1, h, w]; they themselves are gone."""

    wanted: Wanted
    latents: Tensor
    masks: Tensor


def train_persona(
    job: TrainingJob,
    fingerprint: str,
    unfinished: Path,
    on_step: Callable[[Progress], None],
    on_trouble: Callable[[str], None] = warn,
    on_preview: Callable[[Progress, Image.Image], None] | None = None,
) -> Persona:
    """Learn what the recipe asks for: its representation, by its objective; see Wanted.

    Raises LossNotFinite, TooLittleMemory, and whatever `on_step` raises.
    """
    learned: list[Persona | Exception] = []
    wanted = Wanted(job, fingerprint, unfinished, on_step, on_trouble, on_preview)
    train_personas([wanted], 1, lambda _, persona: learned.append(persona))
    (persona,) = learned
    if isinstance(persona, Exception):
        raise persona
    return persona


def train_personas(
    wanted: Iterable[Wanted], at_once: int, on_done: Callable[[Wanted, Persona | Exception], None]
) -> None:
    """Learn several personas with one MODEL, CLIP and VAE, so many at once: see `training.train_together`.

    wanted: taken one after the other, and their photos encoded, before the first is learned. on_done: is given each
    persona as soon as it is learned, or why it cannot be: LossNotFinite, or a ValueError with a sentence. Raises
    TooLittleMemory, and whatever `on_step` and `on_done` raise; how far the others are is kept then.
    """
    wanted = iter(wanted)
    first = next(wanted, None)
    if first is None:
        return
    model, clip, vae = model_for_learning(first.job.model), clip_for_learning(first.job.clip), first.job.vae
    with memory_or_a_sentence(), unloaded_after(model, clip.patcher, vae.patcher):
        left = [encoded(first), *map(encoded, wanted)]
        ways, raised = ways_to_load([model, clip.patcher]), []

        def done(one: Encoded, persona: Persona | Exception) -> None:
            try:
                on_done(one.wanted, persona)
            except BaseException as error:  # whatever it is, no other way to load mends it
                raised.append(error)
                raise
            left.remove(one)

        for off in ways:
            try:
                learn(list(left), at_once, model, clip, off, off is ways[-1], done)
                return
            except Exception as error:
                if off is ways[-1] or error in raised or not out_of_memory(error):
                    raise
                tried = not isinstance(error, NoRoom)
            # Here, where the error is gone, which held on to all that was computed.
            comfy.model_management.soft_empty_cache()
            if tried:
                left[0].wanted.on_trouble(
                    "Out of memory: goes on with weights that are on the device only while they are used."
                )


def encoded(wanted: Wanted) -> Encoded:
    job = wanted.job
    latents, masks = encode(job.model, job.vae, job.photos)
    return Encoded(replace(wanted, job=replace(job, photos=())), latents, masks)


def learn(
    encoded: Sequence[Encoded],
    at_once: int,
    model: ModelPatcher,
    clip: CLIP,
    off: Sequence[ModelPatcher],
    last: bool,
    on_done: Callable[[Encoded, Persona | Exception], None],
) -> None:
    """See `train_personas`. model, clip: for learning. off: those that stay off the device. last: whether there is no
    other way. Raises NoRoom, too."""
    patchers = (model, clip.patcher)
    with differentiable(*patchers, dtype=compute_dtype(model), off=off):
        models = LoadedModels(model, clip, off)
        for alike in of_a_size(encoded):
            whose = {Lesson(partial(begin, one, models)): one for one in alike}

            def done(lesson: Lesson, error: Exception | None, whose: Mapping[Lesson, Encoded] = whose) -> None:
                one = whose[lesson]
                on_done(one, told(one, error) if error else persona_of(one, lesson.learning, models))

            train_in_memory(list(whose), patchers, at_once, done, alike[0].wanted.on_trouble, off, last)


def of_a_size(encoded: Sequence[Encoded]) -> list[list[Encoded]]:
    """Those together that need about as much memory as each other, those of longer prompts first."""
    groups: dict[tuple, list[Encoded]] = {}
    for one in encoded:
        recipe = one.wanted.job.recipe
        cells = math.prod(one.latents.shape[-2:])
        watched = bool(recipe.attention_weight)
        groups.setdefault((type(recipe), cells, recipe.learning.batch_size, recipe.tokens, watched), []).append(one)
    return [sorted(some, key=lambda one: -len(one.wanted.job.recipe.caption)) for some in groups.values()]


def begin(one: Encoded, models: LoadedModels) -> Learning:
    """Raises ValueError for a caption that cannot be read."""
    wanted, job = one.wanted, one.wanted.job
    kept = job.go_on_from and job.go_on_from.representation
    task = models.task(job.recipe, one.latents, one.masks, job.image_embeddings, kept)
    progress = load_progress(wanted.unfinished, wanted.fingerprint, task) or Progress()
    show, word = wanted.on_preview, job.recipe.supercategory
    previews = show and Previews(task, word, models.model, job.vae, show)

    def after_step(progress: Progress) -> None:
        wanted.on_step(progress)
        if previews:
            previews(progress)

    def save_unfinished(progress: Progress) -> None:
        if progress.step:
            save_progress(wanted.unfinished, progress, wanted.fingerprint)

    scale = LossScale(enabled=task.denoiser.dtype == torch.float16)
    return Learning(task, progress, after_step, save_unfinished, scale)


def persona_of(one: Encoded, learning: Learning, models: LoadedModels) -> Persona:
    """What was learned."""
    wanted, recipe, progress, towers = one.wanted, one.wanted.job.recipe, learning.progress, models.towers
    if not progress.in_time:
        wanted.on_trouble(
            f"Learning ended after its {recipe.learning.minutes:g} minutes, before it was done: allow more minutes, "
            "or lower the resolution."
        )
    went_on = {WENT_ON: wanted.job.go_on_from.name} if wanted.job.go_on_from else {}
    facts = {**found(learning.task, progress), LAST_LAYER: towers.last_layer(models.clip.layer_idx)}
    return Persona(
        name=wanted.job.name,
        representation=learning.task.representation.cpu().exported().requires_grad_(False),
        family=towers.family,
        supercategory=recipe.supercategory,
        settings={**recipe.settings(), **went_on, **facts},
        losses=progress.losses,
        fingerprint=wanted.fingerprint,
    )


def told(one: Encoded, error: Exception) -> Exception:
    """With advice, where there is some."""
    if not isinstance(error, LossNotFinite):
        return error
    said = LossNotFinite(
        f"Learning '{one.wanted.job.name}' stopped because {error}. Try a lower learning rate; if it happens in "
        "the first steps, the checkpoint or VAE does not compute well in this precision: start ComfyUI "
        "with --fp32-vae or --force-fp32."
    )
    said.__cause__ = error
    return said


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
