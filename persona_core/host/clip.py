"""What a CLIP object of the host holds: its text encoders, their family, their words."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import update_wrapper

import comfy.sd
import torch
from comfy.sdxl_clip import SDXLClipModel
from comfy.text_encoders.llama import Qwen3_4B
from torch import Tensor, nn

from ..files import QUOTED, shown
from ..recipes import Recipe
from .adapter import TARGET, TargetTokenizer
from .towers import ClipTower, QwenTower, TextTower, check_room


class UnsupportedModel(ValueError):
    """A MODEL or CLIP that the method does not reach."""


class StandIn:
    """What Apply puts in the place of a method of a text encoder; it has that one's name, as packs ask for it."""

    def __init__(self, original: Callable):
        self.original = original
        update_wrapper(self, original)


@dataclass(frozen=True)
class TextTowers:
    """All text encoders of a CLIP; their contexts lie one behind the other.

    target: the host's tokenizer of the words that an adapter in the MODEL looks for (`adapter`), if it has one.
    """

    towers: tuple[TextTower, ...]
    target: TargetTokenizer | None = None

    @property
    def first(self) -> TextTower:
        return self.towers[0]

    @property
    def joint(self) -> bool:
        """Whether K and V are made of one context: that of a model in which text and picture attend jointly."""
        return (self.first.name,) == Z_IMAGE

    @property
    def sectioned(self) -> bool:
        """Whether prompts are cut into sections of one length, and filled up to it; others are as long as they are."""
        return isinstance(self.first, ClipTower)

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

    def ids(self, word: str, called: str = "supercategory") -> list[tuple[int, ...]]:
        """The tokens of a word, each as every encoder knows it. Raises ValueError with a sentence if it has none, or
        not as many in each."""
        each = [tower.word_ids(word, called) for tower in self.towers]
        if len({len(ids) for ids in each}) > 1:
            counts = " and ".join(f"{len(ids)} tokens in {tower.name}" for ids, tower in zip(each, self.towers))
            raise ValueError(f"The {called} {shown(word, QUOTED)} makes {counts}. Use a word that has as many in each.")
        return list(zip(*each))

    def word(self, word: str, called: str = "supercategory") -> Tensor:
        """The input embeddings of a word: [D], or [S, D] if it is S > 1 tokens. Raises ValueError as `ids`."""
        tokens = [
            torch.cat([tower.embedding(one) for tower, one in zip(self.towers, ids)]) for ids in self.ids(word, called)
        ]
        return tokens[0] if len(tokens) == 1 else torch.stack(tokens)

    def check_words(self, recipe: Recipe) -> None:
        """Raise ValueError with a sentence for a word of a recipe that is none, or has too many tokens."""
        words = {"supercategory": recipe.supercategory}
        if recipe.attention_weight and recipe.reference:
            words["reference word"] = recipe.reference
        for called, word in words.items():
            check_room(word, len(self.ids(word, called)), recipe.tokens, recipe.most_tokens, called)

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
    stage_model, tokenizer = clip.cond_stage_model, clip.tokenizer
    names = ("clip_l", "clip_g") if isinstance(stage_model, SDXLClipModel) else (getattr(stage_model, "clip", ""),)
    models = [getattr(stage_model, name, None) for name in names]
    target = getattr(tokenizer, TARGET, None)
    unlike = (names == Z_IMAGE and not is_z_images(models[0])) or (names == ANIMA and target is None)
    if names not in FAMILIES or None in models or unlike:
        raise UnsupportedModel(
            "Personas work with the text encoders of SD1.x, SD2.x, SDXL, Z-Image and Anima; this CLIP is a "
            f"{type(stage_model).__name__}. Use a checkpoint of these families, and for SDXL its base, not its refiner."
        )
    if names == Z_IMAGE:
        return TextTowers((QwenTower(names[0], models[0], getattr(tokenizer, names[0]), tokenizer.llama_template),))
    if names == ANIMA:
        return TextTowers((QwenTower(names[0], models[0], getattr(tokenizer, names[0])),), TargetTokenizer(target))
    return TextTowers(tuple(ClipTower(name, model, getattr(tokenizer, name)) for name, model in zip(names, models)))


def is_z_images(model: nn.Module) -> bool:
    """Others take several layers of the same language model."""
    return isinstance(model.transformer, Qwen3_4B) and model.options_default[:2] == ("hidden", -2)


Z_IMAGE, ANIMA = ("qwen3_4b",), ("qwen3_06b",)
FAMILIES = {
    ("clip_l",): ("SD1.x", 768),
    ("clip_h",): ("SD2.x", 1024),
    ("clip_l", "clip_g"): ("SDXL", 2048),
    Z_IMAGE: ("Z-Image", 2560),
    ANIMA: ("Anima", 1024),
}


def family(encoders: Sequence[str], width: int) -> str:
    name, usual = FAMILIES[tuple(encoders)]
    return f"{name if width == usual else 'custom'} {encoders_in(encoders)} {width} wide)"


def encoders_in(names: Sequence[str]) -> str:
    """How a family tells of which text encoders it is."""
    return f"({' + '.join(names)},"
