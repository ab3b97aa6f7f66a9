"""Teaches a host's tokenizer a placeholder: in a prompt it becomes N persona tokens among the (token, weight) pairs.

Shapes: W width of a text encoder.
"""

import copy
import re
from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor

from ..representation import initializers
from .adapter import TARGET
from .compat import embedding_answer
from .messages import warn
from .placeholder import stands_alone, whole

READ = {Tensor.view, Tensor.reshape, Tensor.to}  # how encoders begin with a vector that stands in a prompt
MARK = "embedding:"  # the host's own word for vectors in a prompt; its parser then does weights and sections
NAME = "$persona-{}$"  # after it, for a placeholder; of characters that other packs' parsers know in a file's name too
MARKED = "\ue000{}\ue001"  # the same where a tokenizer looks for no files: between letters for private use
EMBEDDING = MARK + r"(?P<file>(?![\d.]+\))[^\s,():]+)"  # but "(embedding:1.2)" is a word and its weight


class PersonaToken(Tensor):
    """One of the N tokens of a persona. As a tensor [W] it is the token of the supercategory's word that it began at,
    so an encoder that knows nothing of personas still gets something that means a person, and it is said that it
    does."""

    subject: object
    index: int
    spaced: bool  # whether a space stood before the placeholder, where the space is part of a word's tokens

    @staticmethod
    def of(word: Tensor, subject: object, index: int, spaced: bool = True) -> "PersonaToken":
        token = torch.Tensor._make_subclass(PersonaToken, word.detach())
        token.subject, token.index, token.spaced = subject, index, spaced
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


class PersonaTokens:
    """What stands for an embedding file's tensor [N, W] while the host tokenizes. word: [W] or [S, W]."""

    def __init__(self, word: Tensor, subject: object, count: int):
        words = initializers(word, count).expand(count, -1)
        self.shape, self.subject = tuple(words.shape), subject
        self.tokens = [PersonaToken.of(one, subject, index) for index, one in enumerate(words)]
        self.unspaced = [PersonaToken.of(one, subject, index, spaced=False) for index, one in enumerate(words)]

    def __getitem__(self, index: int) -> PersonaToken:
        return self.tokens[index]

    def __deepcopy__(self, memo: dict) -> "PersonaTokens":
        return self  # as its tokens, which are known by whose they are


class PlaceholderTokenizer:
    """Mixed into the class of a host tokenizer's copy: knows placeholders beside words and embedding files."""

    placeholders: Mapping[str, PersonaTokens]
    without_files: object  # the host's tokenizer, to be asked how it answers without looking through folders

    def tokenize_with_weights(self, text: str, *args, **kwargs):
        return super().tokenize_with_weights(self.with_names(text), *args, **kwargs)

    def with_names(self, text: str) -> str:
        """The text with the name of an embedding file for each placeholder."""
        return self.replaced(text, {one: f"{MARK}{name}" for name, one in self.names.items()})

    def with_words(self, text: str) -> str:
        """The text with the supercategory's word for each placeholder."""
        return self.replaced(text, {one: of.subject.supercategory for one, of in self.placeholders.items()})

    def replaced(self, text: str, by: Mapping[str, str]) -> str:
        pattern = "|".join([EMBEDDING, *map(whole, self.placeholders)])
        return re.sub(pattern, lambda found: self.instead(found, by), text)

    def instead(self, found: re.Match, by: Mapping[str, str]) -> str:
        """What is put into the text for a placeholder; an embedding file's name stays, whatever it holds."""
        if (file := found["file"]) is None:
            return f" {by[found[0]]} "
        stands = next((one for one in by if file == one or (stands_alone(one[-1]) and file.startswith(one))), None)
        if stands is None or (self.embedding_directory and super()._try_get_embedding(file)[0] is not None):
            return found[0]
        return f" {by[stands]} {file.removeprefix(stands)}"

    @property
    def names(self) -> dict[str, str]:
        """Each placeholder by its name among embedding files."""
        return {NAME.format(number): placeholder for number, placeholder in enumerate(self.placeholders)}

    def _try_get_embedding(self, embedding_name: str):
        name, _, leftover = embedding_name.partition(" ")
        if (placeholder := self.names.get(name)) is None:
            return super()._try_get_embedding(embedding_name)
        own = self.without_files._try_get_embedding(embedding_name)
        return embedding_answer(own, self.placeholders[placeholder], leftover.strip())


class SubwordTokenizer(PlaceholderTokenizer):
    """The same for tokenizers that have no words, but parts of a text, with the space before them.

    Each placeholder becomes a number between letters of Unicode's private use, which `Marks` finds in what the host
    gives it piece by piece: so the tokens around it are those that they would be around a word and a space.
    """

    tokenizer: "Marks"

    def tokenize_with_weights(self, text: str, *args, **kwargs):
        # Not that of PlaceholderTokenizer: the template stands around the text by now, and words of it are nobody's.
        sections = super(PlaceholderTokenizer, self).tokenize_with_weights(text, *args, **kwargs)
        known = list(self.placeholders.values())
        return [[one for pair in section for one in unmarked(pair, known)] for section in sections]

    def with_names(self, text: str) -> str:
        return self.replaced(text, {placeholder: mark for mark, placeholder in self.names.items()})

    def instead(self, found: re.Match, by: Mapping[str, str]) -> str:
        file = found["file"]
        if file is None:
            return by[found[0]]
        if self.embedding_directory and super()._try_get_embedding(file)[0] is not None:
            return found[0]
        stands = next((one for one in by if file == one or (stands_alone(one[-1]) and file.startswith(one))), None)
        if stands is not None:
            return by[stands] + file.removeprefix(stands)
        return re.sub("|".join(map(whole, by)), lambda one: by[one[0]], found[0])

    @property
    def names(self) -> dict[str, str]:
        return {MARKED.format(number): placeholder for number, placeholder in enumerate(self.placeholders)}


class WordTokenizer(SubwordTokenizer):
    """The same for a tokenizer of target words (`adapter`), among which nothing but the supercategory's stands for a
    persona."""

    def tokenize_with_weights(self, text: str, *args, **kwargs):
        for mark, placeholder in self.names.items():
            apart = re.sub(rf"(?<=\w){mark}", f" {mark}", re.sub(rf"{mark}(?=\w)", f"{mark} ", text))
            text = apart.replace(mark, self.placeholders[placeholder].subject.supercategory)
        return super(PlaceholderTokenizer, self).tokenize_with_weights(text, *args, **kwargs)


class Marks:
    """Stands in for transformers' tokenizer: each of `count` marks, with the space before it, becomes a number below
    zero, which tells whose it is and whether there was a space."""

    def __init__(self, original: Callable, count: int):
        self.original, self.count = original, count

    def __getattr__(self, name: str):
        if name == "original":  # while it is being copied
            raise AttributeError(name)
        return getattr(self.original, name)

    def __call__(self, text: str, *args, **kwargs):
        found = self.original(text, *args, **kwargs)
        each = "|".join(re.escape(MARKED.format(number)) for number in range(self.count))
        pieces = re.split(f"( ?(?:{each}))", text)
        if len(pieces) == 1:
            return found
        ids = [
            [-1 - 2 * int(piece.strip()[1:-1]) - (piece[0] != " ")]
            if number % 2
            else (self.original(piece, *args, **kwargs)["input_ids"] if piece else [])
            for number, piece in enumerate(pieces)
        ]
        return {**found, "input_ids": [one for some in ids for one in some]}


def unmarked(pair: tuple, known: list["PersonaTokens"]) -> list[tuple]:
    """The host's (token, weight) pair; of a mark's number one for each of the persona's tokens."""
    token, *rest = pair
    if not isinstance(token, int) or token >= 0:
        return [pair]
    number, unspaced = divmod(-1 - token, 2)
    tokens = known[number].unspaced if unspaced else known[number].tokens
    return [(one, *rest) for one in tokens]


class PromptTokenizer:
    """Mixed into the class of a copy of a CLIP's tokenizer, which asks one for each text encoder.

    Packs put their own in the place of those. What looks for embedding files finds the names that are in the text
    already; what does not is told, and given the common word.
    """

    first: str  # of its tokenizers

    def tokenize_with_weights(self, text: str | list[str], *args, **kwargs):
        knows = getattr(self, self.first)
        tokens = super().tokenize_with_weights(each(text, knows.with_names), *args, **kwargs)
        found = {id(one.subject) for one in flat(tokens) if isinstance(one, PersonaToken)}
        missing = {name: one for name, one in knows.names.items() if id(knows.placeholders[one].subject) not in found}
        as_text = [one for name, one in missing.items() if name in str(each(text, knows.with_names))]
        if not as_text:
            return tokens
        warn_of_text(as_text)
        return super().tokenize_with_weights(each(text, knows.with_words), *args, **kwargs)


def each(text: str | list[str], change: Callable[[str], str]) -> str | list[str]:
    """Some packs give several prompts at once."""
    return change(text) if isinstance(text, str) else [change(one) for one in text]


def warn_of_text(placeholders: Iterable[str]) -> None:
    warn(
        f"A node reads prompts in a way of its own, in which {' and '.join(placeholders)} is no persona: there, the "
        "common word stands. Encode the prompt with CLIP Text Encode, or choose another parser in that node."
    )


def with_placeholder(tokenizer, placeholder: str, tokens: Mapping[str, PersonaTokens]):
    """A copy of the host's tokenizer that knows a placeholder. tokens: for each text encoder, as {"clip_l": ...}, and
    for the target words, if there are any."""
    outer = copy.copy(tokenizer)
    if not isinstance(outer, PromptTokenizer):
        outer.__class__ = type("PersonaPromptTokenizer", (PromptTokenizer, type(outer)), {})
        outer.first = next(iter(tokens))
    for encoder, its_tokens in tokens.items():
        inner = copy.copy(getattr(tokenizer, encoder))
        if not isinstance(inner, PlaceholderTokenizer):
            without_files = copy.copy(inner)
            without_files.embedding_directory = []
            inner.without_files = without_files
            # CLIP's has words and a first token; a language model's begins with whatever comes.
            mixin = SubwordTokenizer if inner.start_token is None else PlaceholderTokenizer
            mixin = WordTokenizer if encoder == TARGET else mixin
            inner.__class__ = type("PersonaTokenizer", (mixin, type(inner)), {})
            if mixin is PlaceholderTokenizer:
                # Without a folder for embedding files the host would not look for embeddings at all.
                inner.embedding_directory = inner.embedding_directory or []
            inner.placeholders = {}
        inner.placeholders = {**inner.placeholders, placeholder: its_tokens}
        if isinstance(inner, SubwordTokenizer):
            own = inner.tokenizer.original if isinstance(inner.tokenizer, Marks) else inner.tokenizer
            inner.tokenizer = Marks(own, len(inner.placeholders))
        setattr(outer, encoder, inner)
    return outer


def known_placeholders(tokenizer, encoder: str) -> Mapping[str, PersonaTokens]:
    """The placeholders that earlier `with_placeholder` taught this tokenizer."""
    return getattr(getattr(tokenizer, encoder), "placeholders", {})


def flat(value: object) -> list:
    """All that lies in nested lists, tuples and dicts."""
    if isinstance(value, Mapping):
        value = list(value.values())
    return [one for part in value for one in flat(part)] if isinstance(value, (list, tuple)) else [value]
