"""What a prompt gives the text encoders in the place of a persona's tokens, at one timestep.

Shapes: N persona tokens, D width of the context, W that of one text encoder.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from ...representation import TokenVectors
from ...table import AppliedPersona
from ..tokenizer import PersonaToken

# The host's (token, weight) pairs of one stretch, with the word's number behind where a node asked for it.
Section = list[tuple]


@dataclass(frozen=True)
class Word:
    """The supercategory's token, and the padding that fills what its N - 1 missing tokens leave."""

    token: int
    padding: int


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
        """The word at each of the persona's tokens: a prompt of the same length without the persona."""
        return cls(subject.applied.word.expand_as(vectors.keys[0]))


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
    embeddings, the one token of its word stands for all N, and padding at the end keeps the section's length.
    """
    pairs, bypass, persona, padding = [], [], {}, []
    for token, weight, *number in section:
        if not isinstance(token, PersonaToken):
            pairs.append((token, weight, *number))
            continue
        here, word = embeddings.get(token.subject), token.subject.words[encoder]
        if token.index == 0 or here is not None:
            persona[len(pairs)] = token.subject
        if here is not None:
            vector = here.tokens[token.index, columns]
            if here.bypass is not None:
                bypass.append((vector, here.bypass[token.index, columns]))
            pairs.append((vector, weight, *number))
        elif token.index == 0:
            pairs.append((word.token, weight, *number))
        else:
            padding.append((word.padding, 1.0, *(0 for _ in number)))  # padding is of no word
    return Row(pairs + padding, bypass, persona)
