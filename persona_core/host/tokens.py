"""A placeholder in a prompt becomes N persona tokens among the host's (token, weight) pairs.

Shapes: W width of a text encoder.
"""

import copy
import re
import unicodedata
from collections.abc import Mapping

import torch
from torch import Tensor

from .compat import embedding_answer
from .telling import warn

READ = {Tensor.view, Tensor.reshape, Tensor.to}  # how encoders begin with a vector that stands in a prompt
UNSPACED = ("CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR", "TIBETAN")  # as Unicode names letters
MARK = "embedding:"  # the host's own word for vectors in a prompt; its parser then does weights and sections
EMBEDDING = MARK + r"(?P<file>(?![\d.]+\))[^\s,():]+)"  # but "(embedding:1.2)" is a word and its weight


class PersonaToken(Tensor):
    """One of the N tokens of a persona. As a tensor [W] it is the supercategory's word, so an encoder that
    knows nothing of personas still gets something that means a person, and it is said that it does."""

    subject: object
    index: int

    @staticmethod
    def of(word: Tensor, subject: object, index: int) -> "PersonaToken":
        token = torch.Tensor._make_subclass(PersonaToken, word.detach())
        token.subject, token.index = subject, index
        return token

    def __deepcopy__(self, memo: dict) -> "PersonaToken":
        return self

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        if function in READ and isinstance(args[0], cls) and args[0].index == 0:
            placeholder = getattr(args[0].subject, "placeholder", "a persona")
            warn(
                f"A text encoder was given {placeholder} past the nodes that know personas: there, the common word "
                "stands. Encode the prompt with CLIP Text Encode; Set CLIP Hooks belongs before Apply."
            )
        with torch._C.DisableTorchFunctionSubclass():
            return function(*args, **(kwargs or {}))


class StandIn:
    """What Apply puts in the place of a part of a text encoder."""


class PersonaTokens:
    """What stands for an embedding file's tensor [N, W] while the host tokenizes."""

    def __init__(self, word: Tensor, subject: object, count: int):
        self.shape = (count, len(word))
        self.tokens = [PersonaToken.of(word, subject, index) for index in range(count)]

    def __getitem__(self, index: int) -> PersonaToken:
        return self.tokens[index]


class PlaceholderTokenizer:
    """Mixed into the class of a host tokenizer's copy: knows placeholders beside words and embedding files."""

    placeholders: Mapping[str, PersonaTokens]
    without_files: object  # the host's tokenizer, to be asked how it answers without looking through folders

    def tokenize_with_weights(self, text: str, *args, **kwargs):
        pattern = "|".join([EMBEDDING, *map(whole, self.placeholders)])
        return super().tokenize_with_weights(re.sub(pattern, self.marked, text), *args, **kwargs)

    def marked(self, found: re.Match) -> str:
        """What is put into the text for a placeholder; an embedding file's name stays, whatever it holds."""
        number = {placeholder: number for number, placeholder in enumerate(self.placeholders)}
        if (file := found["file"]) is None:
            return f" {MARK}<persona-{number[found[0]]}> "
        stands = next((one for one in number if file == one or (stands_alone(one[-1]) and file.startswith(one))), None)
        if stands is None or (self.embedding_directory and super()._try_get_embedding(file)[0] is not None):
            return found[0]
        return f" {MARK}<persona-{number[stands]}> {file.removeprefix(stands)}"

    def _try_get_embedding(self, embedding_name: str):
        name, _, leftover = embedding_name.partition(" ")
        for number, tokens in enumerate(self.placeholders.values()):
            if name == f"<persona-{number}>":
                own = self.without_files._try_get_embedding(embedding_name)
                return embedding_answer(own, tokens, leftover.strip())
        return super()._try_get_embedding(embedding_name)


def stands_alone(character: str) -> bool:
    """Whether a word ends at it by itself: at the brackets of <ann>, and in scripts that put no space between words."""
    return not character.isalnum() or unicodedata.name(character, "").startswith(UNSPACED)


def whole(placeholder: str) -> str:
    """A pattern for the placeholder, but not for its letters within a longer word: "ann" is not in "planned"."""
    before = "" if stands_alone(placeholder[0]) else r"(?<!\w)"
    after = "" if stands_alone(placeholder[-1]) else r"(?!\w)"
    return before + re.escape(placeholder) + after


def with_placeholder(tokenizer, placeholder: str, tokens: Mapping[str, PersonaTokens]):
    """A copy of the host's tokenizer that knows a placeholder. tokens: for each text encoder, as {"clip_l": ...}."""
    outer = copy.copy(tokenizer)
    for encoder, its_tokens in tokens.items():
        inner = copy.copy(getattr(tokenizer, encoder))
        if not isinstance(inner, PlaceholderTokenizer):
            without_files = copy.copy(inner)
            without_files.embedding_directory = []
            inner.without_files = without_files
            inner.__class__ = type("PersonaTokenizer", (PlaceholderTokenizer, type(inner)), {})
            # Without a folder for embedding files the host would not look for embeddings at all.
            inner.embedding_directory = inner.embedding_directory or []
            inner.placeholders = {}
        inner.placeholders = {**inner.placeholders, placeholder: its_tokens}
        setattr(outer, encoder, inner)
    return outer


def known_placeholders(tokenizer, encoder: str) -> Mapping[str, PersonaTokens]:
    """The placeholders that earlier `with_placeholder` taught this tokenizer."""
    return getattr(getattr(tokenizer, encoder), "placeholders", {})
