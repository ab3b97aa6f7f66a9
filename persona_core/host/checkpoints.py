"""Models from files, by ComfyUI's own loaders, as its loader nodes do. A file is named by its path, or as in the lists
of those nodes."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import comfy.clip_vision
import comfy.sd
import comfy.utils
import folder_paths
import torch
from comfy.clip_vision import ClipVisionModel
from comfy.model_patcher import ModelPatcher
from comfy.sd import CLIP, VAE

from ..files import QUOTED, shown

TEXT_TYPE = "stable_diffusion"  # of a text encoder, where nothing else is said


class NoSuchModel(ValueError):
    """A file that is not there, or holds no such model."""


def place_of(kind: str, name: str) -> str:
    """kind: a folder of models, as "checkpoints". Raises NoSuchModel."""
    if Path(name).expanduser().is_file():
        return str(Path(name).expanduser())
    if place := folder_paths.get_full_path(kind, name):
        return place
    there = ", ".join(sorted(folder_paths.get_filename_list(kind))[:10]) or "none"
    raise NoSuchModel(
        f"There is no file {shown(name, QUOTED)}, neither by that path nor in ComfyUI's folder {kind}. There: {there}."
    )


@contextmanager
def loading(place: str) -> Iterator[None]:
    """In inference mode, as nodes run. Whatever the host raises is NoSuchModel, with a sentence."""
    try:
        with torch.inference_mode():
            yield
    except Exception as error:
        why = shown(" ".join(str(error).split()) or type(error).__name__, QUOTED)
        raise NoSuchModel(f"{place} cannot be loaded: {why}") from error


def load_checkpoint(name: str) -> tuple[ModelPatcher, CLIP, VAE]:
    """Raises NoSuchModel."""
    with loading(place := place_of("checkpoints", name)):
        embeddings = folder_paths.get_folder_paths("embeddings")
        found = comfy.sd.load_checkpoint_guess_config(place, True, True, embedding_directory=embeddings)
    if found[0] is None or found[1] is None:
        raise NoSuchModel(f"{place} is no checkpoint with a text encoder.")
    return found[:3]


def load_diffusion_model(name: str) -> ModelPatcher:
    """Raises NoSuchModel."""
    with loading(place := place_of("diffusion_models", name)):
        found = comfy.sd.load_diffusion_model(place)
    return found


def load_text_encoder(name: str, kind: str = TEXT_TYPE) -> CLIP:
    """kind: as the list of ComfyUI's node Load CLIP says. Raises NoSuchModel."""
    known = comfy.sd.CLIPType.__members__
    if kind.upper() not in known:
        raise NoSuchModel(f"There is no text encoder of type {shown(kind)}. Use one of: {', '.join(known).lower()}.")
    with loading(place := place_of("text_encoders", name)):
        embeddings = folder_paths.get_folder_paths("embeddings")
        found = comfy.sd.load_clip([place], embedding_directory=embeddings, clip_type=known[kind.upper()])
    return found


def load_vae(name: str) -> VAE:
    """Raises NoSuchModel."""
    with loading(place := place_of("vae", name)):
        vae = comfy.sd.VAE(sd=comfy.utils.load_torch_file(place))
    if vae.first_stage_model is None:
        raise NoSuchModel(f"{place} is no VAE.")
    return vae


def load_clip_vision(name: str) -> ClipVisionModel:
    """Raises NoSuchModel."""
    with loading(place := place_of("clip_vision", name)):
        found = comfy.clip_vision.load(place)
    if found is None:
        raise NoSuchModel(f"{place} is no image encoder.")
    return found
