"""The text encoders that the pack knows, one by one: their tokens, words and layers.

Shapes: W width of a text encoder.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from ..files import QUOTED, shown

IN_PROMPTS = "():\\"  # what prompts use for weights and embeddings
SIMPLER = "such as 'face', 'person', 'man', 'woman', 'cat', 'dog' or 'toy'"


@dataclass(frozen=True)
class TextTower:
    """One text encoder inside a CLIP of the host.

    name: as the host's CLIP has it. model: the host's SDClipModel. tokenizer: its SDTokenizer. template: what the host
    writes around a prompt, "{}" where the prompt stands. part: of the model's transformer, in which the layers are.
    fixed_length: whether prompts that are learned with are filled up to one length.
    """

    name: str
    model: nn.Module
    tokenizer: object
    template: str = "{}"
    part: ClassVar[str]
    fixed_length: ClassVar[bool]

    @property
    def path(self) -> str:
        """Where its layers are in the CLIP's model."""
        return f"{self.name}.transformer.{self.part}"

    @property
    def transformer(self) -> nn.Module:
        return getattr(self.model.transformer, self.part)

    @property
    def key(self) -> str:
        """Under which name the host's tokens hold this encoder's pairs."""
        return self.name

    @property
    def embeddings(self) -> nn.Module:
        return self.model.transformer.get_input_embeddings()

    @property
    def width(self) -> int:
        return self.embeddings.weight.shape[1]

    def depth(self, layer: int | None) -> int:
        """How many of its layers make the context. layer: of CLIP Set Last Layer; None: the family's own."""
        layer, layers = layer if layer is not None else self.model.options_default[1], self.model.num_layers
        if layer is None or abs(layer) > layers:
            return layers
        return (layer + layers if layer < 0 else layer) + 1

    def ends_normed(self, layer: int | None) -> bool:
        """Whether the host norms the context within its layers' own forward. layer: as of `depth`."""
        return False

    def ids(self, word: str) -> list[int]:
        """The tokens of a word inside a prompt."""
        raise NotImplementedError

    def text(self, ids: Sequence[int]) -> str:
        """The text of tokens, with a space behind each of their words."""
        raise NotImplementedError

    def words_in(self, row: Sequence[object]) -> list[bool]:
        """Which of a prompt's tokens are of a word that somebody wrote; what is no number is none."""
        raise NotImplementedError

    def word_ids(self, word: str, called: str = "supercategory") -> list[int]:
        """The tokens of a word that a persona begins at. Raises ValueError if it has none, naming the input it came
        from."""
        ids = self.ids(word) if word.strip() and not set(word) & set(IN_PROMPTS) else []
        if not ids:
            raise ValueError(
                f"The {called} {shown(word, QUOTED)} must be a common word, {SIMPLER}, without brackets and colons."
            )
        return ids

    def embedding(self, token: int) -> Tensor:
        """The input embedding [W] of a token, on the CPU in fp32."""
        with torch.inference_mode(False):
            return self.embeddings.weight[token].detach().to("cpu", torch.float32, copy=True).clone()


@dataclass(frozen=True)
class ClipTower(TextTower):
    """A CLIP text model: "clip_l" (SD1.x, SDXL), "clip_h" (SD2.x) or "clip_g" (SDXL)."""

    part = "text_model"
    fixed_length = True

    @property
    def key(self) -> str:
        return self.name.removeprefix("clip_")

    def ids(self, word: str) -> list[int]:
        return self.tokenizer.tokenizer(word.strip())["input_ids"][1:-1]

    def text(self, ids: Sequence[int]) -> str:
        return "".join(self.tokenizer.inv_vocab[one].replace("</w>", " ") for one in ids).strip()

    @property
    def special_tokens(self) -> frozenset[int]:
        """The tokens that are of no word: start, end, padding."""
        return frozenset((self.tokenizer.start_token, self.tokenizer.end_token, self.tokenizer.pad_token))

    def words_in(self, row: Sequence[object]) -> list[bool]:
        special = self.special_tokens
        return [isinstance(token, int) and token not in special for token in row]


@dataclass(frozen=True)
class QwenTower(TextTower):
    """A language model of Qwen's: prompts are as long as they are, some within a chat template."""

    part = "model"
    fixed_length = False

    def ends_normed(self, layer: int | None) -> bool:
        return layer is None and self.model.options_default[0] == "last"

    def ids(self, word: str) -> list[int]:
        return self.plain(f" {word.strip()}")

    def plain(self, text: str) -> list[int]:
        return self.tokenizer.tokenizer(text)["input_ids"]

    def text(self, ids: Sequence[int]) -> str:
        return " ".join(self.tokenizer.tokenizer.decode(list(ids)).split())

    def words_in(self, row: Sequence[object]) -> list[bool]:
        before, after = (len(self.plain(part)) for part in self.template.split("{}"))
        padding = sum(isinstance(token, int) and token == self.tokenizer.pad_token for token in row)
        last = len(row) - after - padding
        return [before <= place < last and isinstance(token, int) for place, token in enumerate(row)]


def check_room(
    word: str, count: int, tokens: int, most: int, called: str = "supercategory", encoder: str = "this text encoder"
) -> None:
    """Raise ValueError with a sentence for a word of more tokens than a persona has. most: that it could have."""
    if count <= tokens:
        return
    has, more = f"a persona of this kind has at most {most}", "Use"
    if count <= most:
        has, more = f"the persona has {tokens}", f"Set tokens to {count}{' or more' * (count < most)}, or use"
    raise ValueError(
        f"The {called} {shown(word, QUOTED)} makes {count} tokens in {encoder}, but {has}. {more} a simpler word, "
        f"{SIMPLER}."
    )
