"""What a CLIP object of the host holds: its text encoders, their family, their words."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import update_wrapper

import comfy.sd
import torch
from comfy.sdxl_clip import SDXLClipModel
from torch import Tensor, nn

from ..files import QUOTED, shown


class UnsupportedModel(ValueError):
    """A MODEL or CLIP that the method does not reach."""


class StandIn:
    """What Apply puts in the place of a method of a text encoder; it has that one's name, as packs ask for it."""

    def __init__(self, original: Callable):
        self.original = original
        update_wrapper(self, original)


@dataclass(frozen=True)
class TextTower:
    """One text encoder inside a CLIP.

    name: "clip_l" (SD1.x, SDXL), "clip_h" (SD2.x) or "clip_g" (SDXL). model: the host's SDClipModel. tokenizer: its
    SDTokenizer.
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
    def key(self) -> str:
        """Under which name the host's tokens hold this encoder's pairs."""
        return self.name.removeprefix("clip_")

    def depth(self, layer: int | None) -> int:
        """How many of its layers make the context. layer: of CLIP Set Last Layer; None: the family's own."""
        layer, layers = layer if layer is not None else self.model.options_default[1], self.model.num_layers
        if layer is None or abs(layer) > layers:
            return layers
        return (layer + layers if layer < 0 else layer) + 1

    @property
    def special_tokens(self) -> frozenset[int]:
        """The tokens that are of no word: start, end, padding."""
        return frozenset((self.tokenizer.start_token, self.tokenizer.end_token, self.tokenizer.pad_token))

    def ids(self, word: str) -> list[int]:
        """The tokens of a word."""
        return self.tokenizer.tokenizer(word.strip())["input_ids"][1:-1]

    def word_id(self, word: str, called: str = "supercategory") -> int:
        """The one token of a word. Raises ValueError if it has none or several, naming the input it came from."""
        ids = self.ids(word)
        if len(ids) != 1:
            raise ValueError(
                f"The {called} {shown(word, QUOTED)} must be one common word that the text encoder knows as a single "
                f"token, but it makes {len(ids)}. Try 'face', 'person', 'man', 'woman', 'cat', 'dog' or 'toy'."
            )
        return ids[0]

    def text(self, ids: Sequence[int]) -> str:
        """The text of tokens, with a space behind each of their words."""
        return "".join(self.tokenizer.inv_vocab[one].replace("</w>", " ") for one in ids).strip()

    def embedding(self, token: int) -> Tensor:
        """The input embedding [W] of a token, on the CPU in fp32."""
        weight = self.model.transformer.get_input_embeddings().weight
        with torch.inference_mode(False):
            return weight[token].detach().to("cpu", torch.float32, copy=True).clone()


@dataclass(frozen=True)
class TextTowers:
    """All text encoders of a CLIP; their contexts lie one behind the other."""

    towers: tuple[TextTower, ...]

    @property
    def first(self) -> TextTower:
        return self.towers[0]

    @property
    def widths(self) -> tuple[int, ...]:
        return tuple(tower.width for tower in self.towers)

    @property
    def width(self) -> int:
        """D, of the contexts."""
        return sum(self.widths)

    @property
    def family(self) -> str:
        """What a persona must have been learned for, in words."""
        return family([tower.name for tower in self.towers], self.width)

    def last_layer(self, layer: int | None) -> int:
        """The layer that makes the context, counted as CLIP Set Last Layer does: -1 is the last."""
        return self.first.depth(layer) - self.first.model.num_layers - 1

    def word(self, word: str, called: str = "supercategory") -> Tensor:
        """The input embeddings [D] of a word. Raises ValueError if it is not one token."""
        return torch.cat([tower.embedding(tower.word_id(word, called)) for tower in self.towers])

    def known(self, words: Sequence[str]) -> Tensor:
        """The input embeddings [n, D] of those words that are one token in every encoder."""
        ids = {word: [tower.ids(word) for tower in self.towers] for word in words}
        single = [word for word, tokens in ids.items() if all(len(one) == 1 for one in tokens)]
        return torch.stack([self.word(word) for word in single]) if single else torch.zeros(0, self.width)


def layer_in_use(model: nn.Module) -> int:
    """The layer that makes the context while an SDClipModel of the host encodes, counted as in `last_layer`."""
    if model.layer != "hidden":
        return -1
    return model.layer_idx - model.num_layers if model.layer_idx >= 0 else model.layer_idx


def text_towers(clip: comfy.sd.CLIP) -> TextTowers:
    """The text encoders of a CLIP. Raises UnsupportedModel for one of another family."""
    if clip is None:
        raise UnsupportedModel(
            "The CLIP is empty: this checkpoint carries no text encoder. Load one with a CLIP loader."
        )
    stage_model = clip.cond_stage_model
    names = ("clip_l", "clip_g") if isinstance(stage_model, SDXLClipModel) else (getattr(stage_model, "clip", ""),)
    if names not in FAMILIES or not all(hasattr(stage_model, name) for name in names):
        raise UnsupportedModel(
            f"Personas work with the text encoders of SD1.x, SD2.x and SDXL; this CLIP is a "
            f"{type(stage_model).__name__}. Use a checkpoint of these families, and for SDXL its base, not its refiner."
        )
    return TextTowers(
        tuple(TextTower(name, getattr(stage_model, name), getattr(clip.tokenizer, name)) for name in names)
    )


FAMILIES = {("clip_l",): ("SD1.x", 768), ("clip_h",): ("SD2.x", 1024), ("clip_l", "clip_g"): ("SDXL", 2048)}


def family(encoders: list[str], width: int) -> str:
    name, usual = FAMILIES[tuple(encoders)]
    return f"{name if width == usual else 'custom'} ({' + '.join(encoders)}, {width} wide)"
