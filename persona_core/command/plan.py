"""What a run is to do with each row. A plan can be sent to other processes: it holds names, no models."""

import argparse
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .learning import Learner


WAVE = 4  # times as many people as are learned at once


@dataclass(frozen=True)
class Plan:
    """out: the folder of personas. checkpoint, or diffusion_model, text_encoder (of text_encoder_type) and vae: files
    or names in ComfyUI's lists, as clip_vision. comfyui: its folder, if it is not found by itself; comfyui_options: its
    own. at_once: people learned in one pass. score: whether each is scored; scored_with: prompts
    for that, a picture each, or none for the usual ones."""

    out: str
    checkpoint: str = ""
    diffusion_model: str = ""
    text_encoder: str = ""
    text_encoder_type: str = ""
    vae: str = ""
    clip_vision: str = ""
    comfyui: str = ""
    comfyui_options: tuple[str, ...] = ()
    at_once: int = 1
    score: bool = False
    scored_with: tuple[str, ...] = ()

    @property
    def wave(self) -> int:
        """People whose photos are ready: whoever is done makes room for the next."""
        return WAVE * self.at_once

    @classmethod
    def of(cls, given: argparse.Namespace) -> "Plan":
        """As the command line says."""
        said = {field.name: getattr(given, field.name) for field in fields(cls) if hasattr(given, field.name)}
        cpu = ("--cpu",) if given.cpu else ()
        return cls(**{**said, "comfyui_options": (*cpu, *given.comfyui_options)})

    def check_models(self) -> None:
        """Raise ValueError where it is not said which."""
        parts = self.diffusion_model, self.text_encoder, self.vae
        if bool(self.checkpoint) == any(parts[:2]) or not (self.checkpoint or all(parts)):
            raise ValueError("Say which --checkpoint, or all three: --diffusion-model, --text-encoder and --vae.")

    def learner(self) -> "Learner":
        """With a ComfyUI started in this process, and the models loaded. Raises NoComfyUI, NoSuchModel,
        NoRecogniser."""
        from ..host.start import start

        start(self.comfyui, self.comfyui_options)
        from .learning import Learner

        return Learner(self)


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """What a plan says of ComfyUI and its models."""
    models = parser.add_argument_group("models", "files, or names in the lists of ComfyUI's loader nodes")
    models.add_argument("--checkpoint", default="", help="with model, text encoder and VAE")
    models.add_argument("--diffusion-model", default="", help="or these three, as for Z-Image and Anima")
    models.add_argument("--text-encoder", default="")
    models.add_argument("--vae", default="", help="also beside a checkpoint, instead of its own")
    models.add_argument("--text-encoder-type", default="", help="as in Load CLIP's list, if it needs another")
    host = parser.add_argument_group("ComfyUI", "its own options follow behind --, as in: -- --lowvram")
    host.add_argument("--comfyui", default="", help="its folder; else COMFYUI_PATH, or where the pack is installed")
    host.add_argument("--cpu", action="store_true", help="compute on the CPU")


def add_talk_arguments(parser: argparse.ArgumentParser) -> None:
    """How much is said on the terminal."""
    talk = parser.add_mutually_exclusive_group()
    talk.add_argument("--quiet", action="store_true", help="say only what fails")
    talk.add_argument("--verbose", action="store_true", help="also ComfyUI's log")
