"""Teaches a CLIP a placeholder: whatever node encodes a prompt that holds it gets a conditioning with its table.

Shapes: L tokens of the context, D its width, R rows = grid points.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import comfy.sd
from torch import Tensor

from ..representation import TokenVectors, on_sphere
from ..table import AppliedPersona, ContextTable, plan
from .clip import TextTower, text_tower
from .sampling import attach
from .tokens import PersonaToken, PersonaTokens, known_placeholders, with_placeholders

Section = list[tuple[object, float]]  # the host's (token, weight) pairs of one stretch of 77


def apply_to_clip(clip: comfy.sd.CLIP, applied: AppliedPersona, placeholder: str) -> comfy.sd.CLIP:
    """A clone of `clip` in which `placeholder` is this persona. Raises ValueError with a sentence."""
    tower = text_tower(clip)
    persona = applied.persona
    if persona.family != tower.family:
        raise ValueError(
            f"The persona '{persona.name}' was learned for {persona.family}, but this CLIP is {tower.family}. "
            "Use a checkpoint of the persona's family, or learn the persona again with this one."
        )
    check_placeholder(placeholder, known_placeholders(clip.tokenizer, tower.name))
    word = Word(tower.word_id(persona.supercategory), tower.tokenizer.pad_token)
    subject = Subject(applied, word, placeholder)
    slots = PersonaTokens(persona.representation.word, subject, persona.representation.tokens)
    patched = clip.clone()
    patched.tokenizer = with_placeholders(clip.tokenizer, tower.name, {placeholder: slots})
    install(patched, tower)
    return patched


def check_placeholder(placeholder: str, taken: Iterable[str]) -> None:
    if not placeholder.strip() or placeholder != placeholder.strip():
        raise ValueError(
            f"The placeholder '{placeholder}' must not be empty or begin or end with a space. Use a word such as <ann>."
        )
    if any(character in placeholder for character in "():\\\n"):
        raise ValueError(
            f"The placeholder '{placeholder}' must not hold brackets, colons or backslashes: prompts use them for "
            "weights. Use a word such as <ann>."
        )
    if not any(character.isalpha() for character in placeholder):
        raise ValueError(f"The placeholder '{placeholder}' must hold a letter. Use a word such as <ann>.")
    for other in taken:
        if placeholder in other or other in placeholder:
            raise ValueError(
                f"The placeholder '{placeholder}' cannot be told from '{other}', which an earlier Apply uses. Give "
                "each persona its own, such as <ann> and <bob>."
            )


@dataclass(frozen=True)
class Word:
    """The supercategory's token, and the padding that fills what its N - 1 missing tokens leave."""

    token: int
    padding: int


@dataclass(frozen=True, eq=False)
class Subject:
    """What a persona token in a prompt points to: one Apply."""

    applied: AppliedPersona
    word: Word
    placeholder: str


@dataclass
class Bypass:
    """The vectors that the pass of the text encoder now running adds before its final norm: {row: {position: [D]}}."""

    rows: dict[int, dict[int, Tensor]] = field(default_factory=dict)

    @contextmanager
    def during(self, rows: dict[int, dict[int, Tensor]]):
        self.rows = rows
        try:
            yield
        finally:
            self.rows = {}


class PersonaEncode:
    """Stands in for the host's `encode_token_weights` on a CLIP that knows placeholders.

    It returns the prompt with each supercategory's word in place, as the host encodes that, and beside it the
    table of contexts over t. Prompts without persona go to the host's own method untouched.
    """

    def __init__(self, original, tower: TextTower, bypass: Bypass):
        self.original, self.tower, self.bypass = original, tower, bypass

    def __call__(self, pairs: Mapping[str, list[Section]]):
        sections = pairs[self.tower.key]
        tokens = [token for section in sections for token, _ in section]
        subjects = list(dict.fromkeys(token.subject for token in tokens if isinstance(token, PersonaToken)))
        if not subjects:
            return self.original(pairs)
        words = [filled(section, {})[0] for section in sections]
        context, pooled, *extra = self.original({**pairs, self.tower.key: words})
        extra = extra[0] if extra else {}
        return context, pooled, {**extra, **attach(context, self.table(context, sections, subjects))}

    def table(self, base: Tensor, sections: Sequence[Section], subjects: Sequence[Subject]) -> ContextTable:
        """All contexts of a prompt in one batched pass of the text encoder: for K, then for V."""
        placeholders = frozenset(subject.placeholder for subject in subjects)
        segments = plan([subject.applied for subject in subjects])
        grid = [
            {subject: subject.applied.vectors(t) for subject in subjects} for segment in segments for t in segment.grid
        ]
        if not grid:
            return ContextTable(base, (), (), (), placeholders)
        rows = [
            filled(section, standing, values) for values in (False, True) for standing in grid for section in sections
        ]
        with self.bypass.during(dict(enumerate(bypass for _, bypass in rows))):
            context = self.original({self.tower.key: [section for section, _ in rows]})[0]
        keys, values = context.reshape(2, len(grid), -1, context.shape[-1])
        lengths = [len(segment.grid) for segment in segments]
        return ContextTable(base, tuple(segments), keys.split(lengths), values.split(lengths), placeholders)


def filled(
    section: Section, standing: Mapping[Subject, TokenVectors | None], values: bool = False
) -> tuple[Section, dict[int, Tensor]]:
    """A section with what stands at its placeholders, and the bypass vectors [D] by position.

    standing: the vectors of each subject; where it has none, the one token of the supercategory's word stands
    for all N, and padding at the end keeps the section's length. values: for the context of V, else of K.
    """
    pairs, bypass, padding = [], {}, []
    for token, weight in section:
        if not isinstance(token, PersonaToken):
            pairs.append((token, weight))
            continue
        vectors, word = standing.get(token.subject), token.subject.word
        if vectors is not None:
            if values and vectors.bypass is not None:
                bypass[len(pairs)] = vectors.bypass[0, token.index]
            pairs.append(((vectors.values if values else vectors.keys)[0, token.index], weight))
        elif token.index == 0:
            pairs.append((word.token, weight))
        else:
            padding.append((word.padding, 1.0))
    return pairs + padding, bypass


class BypassNorm:
    """Stands in for the final norm's forward: adds the bypass to the last hidden state, keeping its norm."""

    def __init__(self, original, bypass: Bypass):
        self.original, self.bypass = original, bypass

    def __call__(self, hidden: Tensor) -> Tensor:
        if any(self.bypass.rows.values()):
            hidden = hidden.clone()
            for row, positions in self.bypass.rows.items():
                for position, vector in positions.items():
                    before = hidden[row, position]
                    hidden[row, position] = on_sphere(before + vector.to(before), before)
        return self.original(hidden)


def install(clip: comfy.sd.CLIP, tower: TextTower) -> None:
    """Put both stand-ins on a cloned CLIP through the host's object patches, once."""
    encode = clip.patcher.get_model_object("encode_token_weights")
    if isinstance(encode, PersonaEncode):
        return
    bypass, norm = Bypass(), f"{tower.name}.transformer.text_model.final_layer_norm.forward"
    clip.patcher.add_object_patch("encode_token_weights", PersonaEncode(encode, tower, bypass))
    clip.patcher.add_object_patch(norm, BypassNorm(clip.patcher.get_model_object(norm), bypass))
