"""What a CLIP object of the host holds: its one text encoder, its family, its words."""

from dataclasses import dataclass

import comfy.sd
import torch
from torch import Tensor, nn


class UnsupportedModel(ValueError):
    """A MODEL or CLIP that the method does not reach."""


@dataclass(frozen=True)
class TextTower:
    """The text encoder inside a CLIP.

    name: "clip_l" (SD1.x) or "clip_h" (SD2.x). model: the host's SDClipModel. tokenizer: its SDTokenizer.
    """

    name: str
    model: nn.Module
    tokenizer: object

    @property
    def transformer(self) -> nn.Module:
        return self.model.transformer.text_model

    @property
    def width(self) -> int:
        return self.model.transformer.get_input_embeddings().weight.shape[1]

    @property
    def family(self) -> str:
        """What a persona must have been learned for, in words."""
        return family(self.name, self.width)

    @property
    def key(self) -> str:
        """Under which name the host's tokens hold this encoder's pairs."""
        return self.name.removeprefix("clip_")

    def word_id(self, word: str, called: str = "supercategory") -> int:
        """The one token of a word. Raises ValueError if it has none or several, naming the input it came from."""
        ids = self.tokenizer.tokenizer(word.strip())["input_ids"][1:-1]
        if len(ids) != 1:
            raise ValueError(
                f"The {called} '{word}' must be one common word that the text encoder knows as a single token, "
                f"but it makes {len(ids)}. Try 'face', 'person', 'man', 'woman', 'cat', 'dog' or 'toy'."
            )
        return ids[0]

    def embedding(self, token: int) -> Tensor:
        """The input embedding [D] of a token, on the CPU in fp32."""
        weight = self.model.transformer.get_input_embeddings().weight
        with torch.inference_mode(False):
            return weight[token].detach().to("cpu", torch.float32, copy=True).clone()


def text_tower(clip: comfy.sd.CLIP) -> TextTower:
    """The text encoder of a CLIP with a single one. Raises UnsupportedModel otherwise."""
    if clip is None:
        raise UnsupportedModel(
            "The CLIP is empty: this checkpoint carries no text encoder. Load one with a CLIP loader."
        )
    stage_model = clip.cond_stage_model
    name = getattr(stage_model, "clip", "")
    if name not in ("clip_l", "clip_h") or not hasattr(stage_model, name):
        raise UnsupportedModel(
            f"Personas work with the text encoder of SD1.x and SD2.x; this CLIP is a {type(stage_model).__name__}. "
            "Use an SD1.5 or SD2.1 checkpoint."
        )
    return TextTower(name, getattr(stage_model, name), getattr(clip.tokenizer, name))


def family(encoder: str, width: int) -> str:
    names = {("clip_l", 768): "SD1.x", ("clip_h", 1024): "SD2.x"}
    return f"{names.get((encoder, width), 'custom')} ({encoder}, {width} wide)"
