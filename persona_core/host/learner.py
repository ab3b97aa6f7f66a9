"""Learn a persona with the host's models: from photos to a Persona, interrupted or not."""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import comfy.model_management
import torch
from comfy.model_patcher import ModelPatcher
from safetensors.torch import save
from torch import Tensor

from ..kv_tokens import TokenExpander
from ..learning import LossNotFinite, Progress, learn
from ..losses import ALL, FaceWiseAttention, TandemEquilibrium, masked_noise_loss
from ..mapper import StageMapper
from ..persona import Persona, PersonaFileError, read_safetensors, write_whole
from ..problem import LearningSettings, LossTerm, Objective, Problem, References, ReferenceWord
from ..prompts import FACE_PROMPTS, PHOTO_PROMPTS, RICH_PROMPTS
from ..representation import Learnable
from ..stages import Stages
from .clip import text_towers
from .denoiser import PIXELS, FrozenDenoiser, behaviour_of, compute_dtype, model_for_learning
from .fingerprint import Weights, fingerprint
from .frozen import differentiable
from .memory import borrowed, computed_twice, fit_into_memory, layers_of, out_of_memory, smallest
from .pictures import Photo, encode
from .telling import log, warn
from .text import DifferentiableText, clip_for_learning

GIGABYTE = 2**30
PROGRESS = "progress/5"  # of files of unfinished learning: those of other versions are begun anew


@dataclass(frozen=True)
class Recipe:
    """What the artist chooses, beside the photos; the defaults are PersonaMagic's.

    te_weight: lambda_TE. attention_weight: the face-wise attention loss's lambda; attention_tokens: whose maps it
    compares; reference: the word it compares with, the supercategory if empty. resolution: pixels a side, about.
    """

    supercategory: str = "face"
    tokens: int = 4
    te_weight: float = 1e-3
    resolution: int = 512
    mirror: bool = False
    stages: Stages = Stages()
    learning: LearningSettings = LearningSettings()
    attention_weight: float = 0.0
    attention_tokens: str = ALL
    reference: str = ""
    prompts: Sequence[str] = PHOTO_PROMPTS

    def representation(self, word: Tensor, images: Tensor | None, widths: tuple[int, ...] = ()) -> Learnable:
        """What is learned, as it starts.

        word: [D], the supercategory's. images: [M, E] or None. widths: of the text encoders.
        """
        return StageMapper(word, self.stages, self.tokens, images, self.learning.seed, widths)

    def objective(self, text: DifferentiableText) -> Objective:
        """The loss, and the prompts it is learned with."""
        terms: dict[str, LossTerm] = {"noise": masked_noise_loss}
        reference = None
        if self.te_weight:
            terms["equilibrium"] = TandemEquilibrium(self.te_weight)
        if self.attention_weight:
            terms["attention"] = FaceWiseAttention(self.attention_weight, self.attention_tokens)
            reference = ReferenceWord(text.towers.word(self.reference or self.supercategory, "reference word"))
        return Objective(terms, self.prompts, RICH_PROMPTS if self.te_weight else (), reference)

    def settings(self) -> dict[str, object]:
        """What Persona Info shows."""
        settings = {
            "steps": self.learning.steps,
            "learning rate": self.learning.learning_rate,
            "learning rate falls": self.learning.decay,
            "warm-up steps": self.learning.warmup,
            "batch size": self.learning.batch_size,
            "TE weight": self.te_weight,
            "attention weight": self.attention_weight,
            "resolution": self.resolution,
            "mirror": self.mirror,
            "seed": self.learning.seed,
        }
        if self.attention_weight:
            settings |= {
                "attention of": self.attention_tokens,
                "reference word": self.reference or self.supercategory,
            }
        return settings


@dataclass(frozen=True)
class KVRecipe(Recipe):
    """Face-wise K/V tokens (SeFi-IDE); the defaults are its published recipe.

    pairs: the number of even stages. augment: whether the lesson's photos are variants, see augmentation.augmented.
    """

    supercategory: str = "person"
    tokens: int = 1
    te_weight: float = 0.0
    learning: LearningSettings = LearningSettings(learning_rate=5e-3, weight_decay=0.0)
    attention_weight: float = 3e-3
    prompts: Sequence[str] = FACE_PROMPTS
    pairs: int = 5
    augment: bool = False

    def representation(self, word: Tensor, images: Tensor | None, widths: tuple[int, ...] = ()) -> Learnable:
        return TokenExpander(word, self.pairs, self.learning.seed, widths)

    def settings(self) -> dict[str, object]:
        return super().settings() | {"variants": self.augment}


class TooLittleMemory(MemoryError):
    """Learning does not fit in any way."""


@dataclass(frozen=True)
class Lesson:
    """All that goes into learning one persona. photos: cropped and sized alike. image_embeddings: [M, E] or None."""

    name: str
    model: ModelPatcher
    clip: object
    vae: object
    photos: Sequence[Photo]
    recipe: Recipe
    image_embeddings: Tensor | None = None

    def fingerprint(self) -> str:
        """The same for the same photos, settings and weights, whatever the persona is called."""
        pictures = [(photo.image, photo.mask) for photo in self.photos]
        names = [f"{tower.name}.transformer.text_model." for tower in text_towers(self.clip).towers]
        texts = [Weights(self.clip.patcher, name) for name in names]
        weights = Weights(self.model, "diffusion_model."), *texts, Weights(self.vae.patcher)
        behaviour = behaviour_of(self.model), self.clip.layer_idx
        return fingerprint(pictures, self.recipe, self.image_embeddings, weights, behaviour)


def learn_persona(
    lesson: Lesson,
    print_of_inputs: str,
    unfinished: Path,
    on_step: Callable[[Progress], None],
    on_trouble: Callable[[str], None] = warn,
) -> Persona:
    """Learn what the recipe asks for: its representation, by its objective.

    unfinished: the file that holds how far learning is; it is read before and removed by the caller after.
    It is written now and then, and whenever learning stops, for whatever reason. on_trouble: is given a sentence when
    learning goes on otherwise than it began.
    Raises LossNotFinite, TooLittleMemory, and whatever `on_step` raises.
    """
    recipe = lesson.recipe
    model, clip = model_for_learning(lesson.model), clip_for_learning(lesson.clip)
    towers = text_towers(clip)
    with borrowed(model, clip.patcher, lesson.vae.patcher):
        latents, masks = encode(lesson.model, lesson.vae, lesson.photos)
        with differentiable(model, clip.patcher, dtype=compute_dtype(model)):
            denoiser = FrozenDenoiser(model, math.prod(latents.shape[-2:]))
            device = denoiser.device
            images = None if lesson.image_embeddings is None else lesson.image_embeddings.clone()
            word = towers.word(recipe.supercategory)
            representation = recipe.representation(word, images, towers.widths).to(device)
            text = DifferentiableText(clip, representation.tokens, recipe.supercategory, denoiser.dtype)
            references = References(latents.clone().to(device).float(), masks.clone().to(device).float())
            objective, settings = recipe.objective(text), recipe.learning
            problem = Problem(representation, references, text, denoiser, objective, settings)
            progress = load_progress(unfinished, print_of_inputs) or Progress()

            def keep(progress: Progress) -> None:
                if progress.step:
                    save_progress(unfinished, progress, print_of_inputs)

            try:
                learn_in_memory(problem, (model, clip.patcher), progress, on_step, keep, on_trouble)
            except LossNotFinite as error:
                raise LossNotFinite(
                    f"Learning '{lesson.name}' stopped because {error}. Try a lower learning rate; if it happens in "
                    "the first steps, the checkpoint or VAE does not compute well in this precision: start ComfyUI "
                    "with --fp32-vae or --force-fp32."
                ) from error
    return Persona(
        name=lesson.name,
        representation=representation.cpu().folded().requires_grad_(False),
        family=towers.family,
        supercategory=recipe.supercategory,
        settings=recipe.settings(),
        losses=progress.losses,
        fingerprint=print_of_inputs,
    )


def learn_in_memory(
    problem: Problem,
    patchers: Sequence[ModelPatcher],
    progress: Progress,
    on_step: Callable[[Progress], None],
    keep: Callable[[Progress], None],
    on_trouble: Callable[[str], None] = warn,
) -> None:
    """`learn` in the memory there is; and if that was misjudged, say so and go on from there with what needs least.

    patchers: of the loaded models. Raises TooLittleMemory.
    """
    denoiser, rows = problem.denoiser, problem.settings.batch_size
    layers = layers_of(denoiser.unet)
    first, room = fit_into_memory(problem, patchers)
    for fitted in dict.fromkeys((first, smallest(layers))):
        how = f"{fitted.rows} of {rows} pictures at once, {len(fitted.twice)} of {len(layers)} layers computed twice"
        log.info("Learning in %s and %.1f GB: %s", denoiser.dtype, room / GIGABYTE, how)
        if fitted != first:
            on_trouble(f"Out of memory at step {progress.step + 1}: goes on from there with {how}.")
        scaler = torch.amp.GradScaler(denoiser.device.type, enabled=denoiser.dtype == torch.float16)
        try:
            with computed_twice(fitted.twice):
                learn(problem, progress, on_step, keep, scaler, fitted.rows)
            return
        except Exception as error:
            if not out_of_memory(error):
                raise
        # Here, where the error is gone, which held on to all that was computed.
        comfy.model_management.soft_empty_cache()
    height, width = (PIXELS * side for side in problem.references.latents.shape[-2:])
    raise TooLittleMemory(
        f"Learning needs more memory than there is: one picture of {width}x{height} pixels at a time does not fit, "
        "even with every layer computed twice. Lower the resolution, or close what else uses this memory. How far "
        "learning came is kept."
    )


def save_progress(path: Path, progress: Progress, print_of_inputs: str) -> None:
    """Write how far learning is. A disk that is full costs only the chance to go on later, so it stops nothing."""
    metadata = {"format": PROGRESS, "losses": json.dumps(progress.losses), "fingerprint": print_of_inputs}
    try:
        write_whole(path, save(progress.tensors, metadata))
    except OSError as error:
        log.warning("How far learning is could not be written to %s: %s", path, error)


def load_progress(path: Path, print_of_inputs: str) -> Progress | None:
    """How far a learning run of the same inputs came, or None. An unreadable file counts as none."""
    try:
        metadata, tensors = read_safetensors(path)
    except (FileNotFoundError, PersonaFileError):
        return None
    if (metadata.get("format"), metadata.get("fingerprint")) != (PROGRESS, print_of_inputs):
        return None
    return Progress(json.loads(metadata["losses"]), tensors)
