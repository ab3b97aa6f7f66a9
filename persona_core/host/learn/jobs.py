"""What an artist chose, to the job that learns it: one place for nodes and command, so that the same inputs have the
same fingerprint. The keywords are the nodes' inputs (persona_core/settings.py); image, mask: as the nodes have them."""

from dataclasses import dataclass, replace
from typing import Any

from comfy.clip_vision import ClipVisionModel
from comfy.model_management import load_models_gpu
from comfy.model_patcher import ModelPatcher
from comfy.sd import CLIP, VAE
from torch import Tensor

from ...file_names import check_name
from ...going_on import check_goes_on
from ...persona import Persona
from ...photos import Photo, augmented, cropped, sized
from ...recipes import KV_PRESETS, KVTokensRecipe, Recipe, StageMapperRecipe, kv_prompts, settings_of
from ...settings import KV_TOKENS, LEARN_PERSONA, completed
from ...stages import Stages
from ..clip import text_towers
from ..compat import with_own_weights
from ..insightface import pack_without
from ..model import best_resolution, check_across, check_models, default_stages
from ..photos import warn_of_blur, warn_of_white
from .latents import embed, size_multiple
from .run import TrainingJob
from .text import clip_for_learning


@dataclass(frozen=True)
class Models:
    """What is learned with. clip_vision: also looks at the photo, if there is one."""

    model: ModelPatcher
    clip: CLIP
    vae: VAE
    clip_vision: ClipVisionModel | None = None

    def for_many(self) -> "Models":
        """To learn with again and again: where weights are lent, whoever learns would read the file each time."""
        own = with_own_weights(self.model, "MODEL"), clip_for_learning(self.clip)
        return replace(self, model=own[0], clip=own[1])

    def load(self) -> None:
        """What is loaded before learning is loaded after it."""
        load_models_gpu([self.model, self.clip.patcher])


def learn_persona_job(
    models: Models,
    name: str,
    image: Tensor,
    mask: Tensor | None = None,
    stages: Stages | None = None,
    go_on_from: Persona | None = None,
    **chosen: Any,
) -> TrainingJob:
    """Learn Persona's. Raises ValueError and the like, with a sentence."""
    name, said = check_name(name, folders=False), completed(LEARN_PERSONA, chosen)
    recipe = StageMapperRecipe(
        **shared(models, said),
        tokens=said["tokens"],
        stages=stages or default_stages(models.model),
        learning=settings_of(*learning(said)),
    )
    photos = photos_of(models, image, mask, recipe, said["crop_to_face"])
    if go_on_from is not None:
        check_goes_on(go_on_from, text_towers(models.clip).family, recipe)
    embeddings = None if models.clip_vision is None else embed(models.clip_vision, photos)
    keep = said["keep_mapper"], go_on_from
    return TrainingJob(name, models.model, models.clip, models.vae, photos, recipe, embeddings, *keep)


def kv_tokens_job(models: Models, name: str, image: Tensor, mask: Tensor | None = None, **chosen: Any) -> TrainingJob:
    """That of Face-Wise K/V Tokens. Raises as `learn_persona_job`."""
    name, said = check_name(name, folders=False), completed(KV_TOKENS, chosen)
    check_across(models.model, "Face-Wise K/V Tokens", "Use Learn Persona with it.")
    recipe = KVTokensRecipe(
        **shared(models, said),
        attention_tokens=said["attention_tokens"],
        learning=settings_of(*learning(said), KV_PRESETS),
        reference=said["reference_word"].strip(),
        prompts=kv_prompts(said["supercategory"].strip()),
        pairs=said["pairs"],
        augment=said["augment"],
    )
    photos = photos_of(models, image, mask, recipe, said["crop_to_face"])
    if recipe.augment:
        photos = augmented(photos, said["train_seed"])
    return TrainingJob(name, models.model, models.clip, models.vae, photos, recipe)


JOBS = {"learn": learn_persona_job, "kv": kv_tokens_job}  # as settings.METHODS


def shared(models: Models, said: dict[str, Any]) -> dict[str, Any]:
    """What both recipes have."""
    return {
        "supercategory": said["supercategory"].strip(),
        "te_weight": said["te_weight"],
        "resolution": said["resolution"] or best_resolution(models.model),
        "mirror": said["mirror"],
        "attention_weight": said["attention_weight"],
        "attention_reduction": said["attention_reduction"],
        "caption": said["caption"].strip(),
        "context_weight": said["context_weight"],
        "start": said["start"],
        "weights": said["loss_weights"],
    }


def learning(said: dict[str, Any]) -> tuple:
    """The first arguments of `settings_of`."""
    return tuple(said[name] for name in ("preset", "train_seed", "steps", "learning_rate", "batch_size", "minutes"))


def photos_of(models: Models, image: Tensor, mask: Tensor | None, recipe: Recipe, crop_to_face: bool) -> list[Photo]:
    """What a recipe is learned from, once all that goes into learning is checked."""
    model, vae, pack = models.model, models.vae, pack_without(mask)
    check_models(model, models.clip, vae, recipe)
    if recipe.attention_weight:
        check_across(model, "The attention loss", "Set attention_weight to 0.")
    warn_of_white(image)
    parts = cropped(image, mask, recipe, crop_to_face, pack)
    warn_of_blur(parts, recipe.resolution)
    return sized(parts, recipe, size_multiple(model, vae))
