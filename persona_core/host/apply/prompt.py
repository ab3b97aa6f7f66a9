"""What a prompt gives the text encoders in the place of a persona's tokens, at one timestep.

Shapes: N persona tokens, D width of the context, W that of one text encoder.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...files import QUOTED, shown
from ...persona import Persona
from ...representation import TokenVectors
from ...table import AppliedPersona
from ..clip import TextTowers
from ..tokenizer import PersonaToken, flat
from ..towers import QwenTower, TextTower

# The host's (token, weight) pairs of one stretch, with the word's number behind where a node asked for it.
Section = list[tuple]


@dataclass(frozen=True)
class Word:
    """The supercategory's S tokens behind a space, those without one, and the padding that fills what its N - S missing
    tokens leave; None where prompts are as long as they are."""

    spaced: Sequence[int]
    unspaced: Sequence[int]
    padding: int | None

    @classmethod
    def of(cls, word: str, tower: TextTower) -> "Word":
        """Raises ValueError for a word that cannot be used."""
        ids = tower.word_ids(word)
        if isinstance(tower, QwenTower):
            return cls(ids, tower.plain(word.strip()), None)
        return cls(ids, ids, tower.tokenizer.pad_token)

    def at(self, token: PersonaToken) -> Sequence[int]:
        """Those that stand in a persona token's place: one at each while there are, as prompts are cut to a length; all
        at the first where they are as long as they are."""
        ids = self.spaced if token.spaced else self.unspaced
        if self.padding is None:
            return ids if token.index == 0 else ()
        return ids[token.index : token.index + 1]


def words_of(persona: Persona, towers: TextTowers) -> dict[str, Word]:
    """The supercategory's, by the host's key of each text encoder. Raises ValueError with a sentence where it has more
    tokens than the persona began at, or fewer."""
    word = persona.representation.word
    began, count = len(word.reshape(-1, word.shape[-1])), len(towers.ids(persona.supercategory))
    if began != count:
        raise ValueError(
            f"The persona {shown(persona.name, QUOTED)} began at {began} of the text encoder's tokens, but its "
            f"supercategory {shown(persona.supercategory, QUOTED)} makes {count} in this CLIP. Learn it again with "
            "this checkpoint."
        )
    return {tower.key: Word.of(persona.supercategory, tower) for tower in towers.towers}


@dataclass(frozen=True, eq=False)
class Subject:
    """What a persona token in a prompt points to: one Apply. words: by the host's key of the text encoder. hooked: see
    `sampling.attach`."""

    applied: AppliedPersona
    placeholder: str
    words: Mapping[str, Word]
    hooked: bool = True

    @property
    def supercategory(self) -> str:
        return self.applied.persona.supercategory


@dataclass(frozen=True)
class PlaceholderEmbeddings:
    """What stands at a placeholder: tokens [N, D], and the bypass [N, D] that is added to them behind the encoder."""

    tokens: Tensor
    bypass: Tensor | None = None

    @classmethod
    def for_keys(cls, subject: Subject, vectors: TokenVectors) -> "PlaceholderEmbeddings":
        return cls(vectors.keys[0])

    @classmethod
    def for_values(cls, subject: Subject, vectors: TokenVectors) -> "PlaceholderEmbeddings":
        return cls(vectors.values[0], None if vectors.bypass is None else vectors.bypass[0])

    @classmethod
    def without(cls, subject: Subject, vectors: TokenVectors) -> "PlaceholderEmbeddings":
        """The word at each of the persona's tokens, as they began: a prompt of the same length without the persona."""
        return cls(subject.applied.word.expand_as(vectors.keys[0]))


@dataclass(frozen=True)
class Point:
    """A timestep of the grid: what stands at each placeholder, of those whose word does not."""

    vectors: Mapping[Subject, TokenVectors]

    @classmethod
    def at(cls, t: float, subjects: Iterable[Subject]) -> "Point":
        vectors = {subject: subject.applied.vectors(t) for subject in subjects}
        return cls({subject: one for subject, one in vectors.items() if one is not None})

    @property
    def preserved(self) -> float:
        """How far the context is preserved: the persona that asks for most decides."""
        return max((subject.applied.context_preservation for subject in self.vectors), default=0.0)

    def embeddings(self, side: Callable[..., PlaceholderEmbeddings]) -> dict[Subject, PlaceholderEmbeddings]:
        return {subject: side(subject, vectors) for subject, vectors in self.vectors.items()}


@dataclass(frozen=True)
class Row:
    """A section as the text encoder gets it.

    bypass: for each of the personas' tokens [W] that has one, the token and its bypass [W]. persona: the positions of
    personas' tokens, and whose they are.
    """

    pairs: Section
    bypass: list[tuple[Tensor, Tensor]]
    persona: Mapping[int, Subject]


def fill(section: Section, encoder: str, columns: slice, embeddings: Mapping[Subject, PlaceholderEmbeddings]) -> Row:
    """A section with what stands at its placeholders.

    encoder: the host's key of the text encoder, whose share of the D numbers columns tells. Where a subject has no
    embeddings, its word's tokens stand for all N, and padding at the end keeps the section's length.
    """
    pairs, bypass, persona, padding = [], [], {}, []
    for token, weight, *number in section:
        if not isinstance(token, PersonaToken):
            pairs.append((token, weight, *number))
            continue
        here, word = embeddings.get(token.subject), token.subject.words[encoder]
        if here is not None:
            persona[len(pairs)] = token.subject
            vector = here.tokens[token.index, columns]
            if here.bypass is not None:
                bypass.append((vector, here.bypass[token.index, columns]))
            pairs.append((vector, weight, *number))
        elif ids := word.at(token):
            persona |= dict.fromkeys(range(len(pairs), len(pairs) + len(ids)), token.subject)
            pairs += [(one, weight, *number) for one in ids]
        elif word.padding is not None:
            padding.append((word.padding, 1.0, *(0 for _ in number)))  # padding is of no word
    return Row(pairs + padding, bypass, persona)


def count_of(sections: Mapping[str, Sequence[Section]]) -> int:
    """How many sections a prompt has: the host cuts what one of two encoders has more."""
    return min(map(len, sections.values()))


def tokens_of(numbers: Sequence[int], context: Tensor, count: int) -> Tensor:
    """The places in a context [1, L, D] of `count` sections of the tokens of those of these numbers."""
    length = context.shape[1] // count
    places = torch.tensor(numbers)[:, None] * length + torch.arange(length)
    return places.flatten().to(context.device)


def subjects_in(sections: Mapping[str, list[Section]]) -> list[Subject]:
    """The personas in a prompt, each once."""
    tokens = [one for one in flat(sections) if isinstance(one, PersonaToken)]
    return list(dict.fromkeys(token.subject for token in tokens))


def ids_in(sections: list[Section]) -> list[int]:
    """The tokens of a prompt, in the host's pairs or in whatever lists a pack made."""
    tokens = [pair[0] for section in sections for pair in section if isinstance(pair, tuple) and pair]
    return [one for one in tokens or flat(sections) if isinstance(one, int)]
