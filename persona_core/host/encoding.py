"""Teaches a CLIP a placeholder: whatever node encodes a prompt that holds it gets a conditioning with its table.

Shapes: L tokens of the context, D its width, W that of one text encoder, R rows of its batch.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import accumulate

import comfy.sd
import torch
from torch import Tensor

from ..representation import on_sphere
from ..table import AppliedPersona, ContextTable, plan
from .clip import TextTowers, text_towers
from .sampling import attach
from .sections import Row, Section, Standing, Subject, Word, filled
from .tokens import PersonaToken, PersonaTokens, StandIn, known_placeholders, with_placeholder


def apply_to_clip(
    clip: comfy.sd.CLIP, applied: AppliedPersona, placeholder: str, hooked: bool = True
) -> comfy.sd.CLIP:
    """A clone of `clip` in which `placeholder` is this persona. Raises ValueError with a sentence.

    hooked: see `sampling.attach`.
    """
    towers = text_towers(clip)
    persona = applied.persona
    if persona.family != towers.family:
        raise persona.not_for(f"this CLIP is {towers.family}")
    check_placeholder(placeholder, known_placeholders(clip.tokenizer, towers.first.name))
    words = {
        tower.key: Word(tower.word_id(persona.supercategory), tower.tokenizer.pad_token) for tower in towers.towers
    }
    subject = Subject(applied, placeholder, words, hooked)
    # Without the persona a long prompt must be cut into stretches of 77 where the plain one is.
    count = persona.representation.tokens if applied.strength else 1
    tokens = {
        tower.name: PersonaTokens(word, subject, count)
        for tower, word in zip(towers.towers, persona.representation.word.split(towers.widths))
    }
    patched = clip.clone()
    patched.cond_stage_model = patched.patcher.model  # another behind Set CLIP Hooks, where the host lends weights
    patched.tokenizer = with_placeholder(clip.tokenizer, placeholder, tokens)
    install(patched, towers)
    return patched


def check_placeholder(placeholder: str, taken: Iterable[str]) -> None:
    if not placeholder.strip() or placeholder != placeholder.strip():
        raise ValueError(
            f"The placeholder '{placeholder}' must not be empty or begin or end with a space. Use a word such as <ann>."
        )
    if any(character in placeholder for character in "():\\"):
        raise ValueError(
            f"The placeholder '{placeholder}' must not hold brackets, colons or backslashes: prompts use them for "
            "weights. Use a word such as <ann>."
        )
    if any(character.isspace() or not character.isprintable() or character in "\"'`=" for character in placeholder):
        raise ValueError(
            f"The placeholder '{placeholder}' must be one word, without spaces, quotes or '='. Use a word such as "
            "<ann>."
        )
    if not any(character.isalpha() for character in placeholder):
        raise ValueError(f"The placeholder '{placeholder}' must hold a letter. Use a word such as <ann>.")
    for other in taken:
        if placeholder in other or other in placeholder:
            raise ValueError(
                f"The placeholder '{placeholder}' cannot be told from '{other}', which an earlier Apply uses. Give "
                "each persona its own, such as <ann> and <bob>."
            )


@dataclass
class Bypass:
    """The vectors that the pass of the text encoders now running adds to their last hidden state.

    rows: for each encoder by its key, and each row: {position: [W]}.
    """

    rows: Mapping[str, Sequence[dict[int, Tensor]]] = field(default_factory=dict)

    @contextmanager
    def during(self, rows: Mapping[str, Sequence[dict[int, Tensor]]]):
        self.rows = rows
        try:
            yield
        finally:
            self.rows = {}


class PersonaEncode(StandIn):
    """Stands in for the host's `encode_token_weights` on a CLIP that knows placeholders.

    It returns the prompt with each supercategory's word in place, as the host encodes that, and beside it the
    table of contexts over t. Prompts without persona go to the host's own method untouched.
    """

    def __init__(self, original, towers: TextTowers, bypass: Bypass):
        self.original, self.bypass = original, bypass
        self.names = [tower.name for tower in towers.towers]
        ends = list(accumulate(towers.widths, initial=0))
        self.columns = {tower.key: slice(*span) for tower, span in zip(towers.towers, zip(ends, ends[1:]))}

    def __call__(self, pairs: Mapping[str, list[Section]]):
        sections = {key: pairs[key] for key in self.columns}
        tokens = [token for encoder in sections.values() for section in encoder for token, *_ in section]
        subjects = list(dict.fromkeys(token.subject for token in tokens if isinstance(token, PersonaToken)))
        if not subjects:
            return self.original(pairs)
        words = {
            key: [filled(section, key, columns, {}).pairs for section in sections[key]]
            for key, columns in self.columns.items()
        }
        context, pooled, *extra = self.original({**pairs, **words})
        hooked = all(subject.hooked for subject in subjects)
        context, followed = attach(self.table(context, sections, subjects), hooked)
        return context, pooled, {**(extra[0] if extra else {}), **followed}

    def table(
        self, base: Tensor, sections: Mapping[str, Sequence[Section]], subjects: Sequence[Subject]
    ) -> ContextTable:
        """All contexts of a prompt in one batched pass of the text encoders: for K, for V, and without the personas
        where a persona preserves the context."""
        placeholders = frozenset(subject.placeholder for subject in subjects)
        segments = plan([subject.applied for subject in subjects])
        grid = [
            {subject: subject.applied.vectors(t) for subject in subjects} for segment in segments for t in segment.grid
        ]
        if not grid:
            return ContextTable(base, (), (), (), placeholders)
        # Of the personas that stand at each point, the one that asks for most decides.
        preserved = [
            max((subject.applied.context_preservation for subject in point if point[subject] is not None), default=0.0)
            for point in grid
        ]
        lengths = [len(segment.grid) for segment in segments]
        # Without the personas, all of a segment is one prompt.
        starts = accumulate(lengths[:-1], initial=0) if any(preserved) else ()
        sides = (
            (Standing.for_keys, grid),
            (Standing.for_values, grid),
            (Standing.without, [grid[start] for start in starts]),
        )
        standings = [
            {subject: side(subject, vectors) for subject, vectors in point.items() if vectors is not None}
            for side, points in sides
            for point in points
        ]
        # The host cuts what one of two encoders has more.
        count = min(len(encoder) for encoder in sections.values())
        rows = {
            key: [
                filled(section, key, columns, standing) for standing in standings for section in sections[key][:count]
            ]
            for key, columns in self.columns.items()
        }
        # All in one batch; or one prompt after the other, where a section's context depends on the others.
        each = len(standings) * count if self.sections_are_independent() else count
        contexts = [
            self.encode({key: encoder[start : start + each] for key, encoder in rows.items()})
            for start in range(0, len(standings) * count, each)
        ]
        context = torch.cat([one.reshape(-1, base.shape[1], base.shape[2]) for one in contexts])
        keys, values, without = context.split([len(points) for _, points in sides])
        if any(preserved):
            others = self.others(rows).reshape(context.shape)[: len(grid)].to(keys)
            back = others * torch.tensor(preserved).to(keys)[:, None, None]
            without = without.repeat_interleave(torch.tensor(lengths, device=without.device), 0)
            keys, values = torch.lerp(keys, without, back), torch.lerp(values, without, back)
        return ContextTable(base, tuple(segments), keys.split(lengths), values.split(lengths), placeholders)

    def encode(self, rows: Mapping[str, Sequence[Row]]) -> Tensor:
        """The contexts of sections as those of one prompt."""
        with self.bypass.during({key: [row.bypass for row in encoder] for key, encoder in rows.items()}):
            return self.original({key: [row.pairs for row in encoder] for key, encoder in rows.items()})[0]

    def sections_are_independent(self) -> bool:
        """Whether the host's own code encodes, each section whatever the others are. Packs that weigh words in other
        styles put theirs in its place, and some of them look at the whole prompt."""
        model = getattr(self.original, "__self__", None)
        if model is None:
            return False
        encoders = [getattr(model, name) for name in self.names]
        codes = [getattr(encoder.encode_token_weights, "__func__", None) for encoder in encoders]
        return all(code is type(encoder).encode_token_weights for code, encoder in zip(codes, encoders))

    def others(self, rows: Mapping[str, Sequence[Row]]) -> Tensor:
        """True at the numbers of the contexts [rows, L, D] that are of no persona's token."""
        encoders = []
        for key, columns in self.columns.items():
            others = torch.tensor([[place not in row.persona for place in range(len(row.pairs))] for row in rows[key]])
            encoders.append(others[..., None].expand(-1, -1, columns.stop - columns.start))
        return torch.cat(encoders, -1)


class BypassLayers(StandIn):
    """Stands in for the forward of a text encoder's layers: adds the bypass to what they end with, keeping its norm.

    The host takes the context from the last layer or from an earlier one; where it norms the context, it does so after.
    """

    def __init__(self, original, key: str, bypass: Bypass):
        self.original, self.key, self.bypass = original, key, bypass

    def __call__(self, *args, **kwargs):
        hidden, earlier = self.original(*args, **kwargs)
        rows = self.bypass.rows.get(self.key, ())
        return tuple(end if end is None or not any(rows) else moved(end, rows) for end in (hidden, earlier))


def moved(hidden: Tensor, rows: Sequence[Mapping[int, Tensor]]) -> Tensor:
    """A hidden state [R, L, W] with each row's bypass vectors added at their positions."""
    hidden = hidden.clone()
    for row, positions in enumerate(rows):
        for position, vector in positions.items():
            before = hidden[row, position]
            hidden[row, position] = on_sphere(before + vector.to(before), before)
    return hidden


def install(clip: comfy.sd.CLIP, towers: TextTowers) -> None:
    """Put the stand-ins on a cloned CLIP through the host's object patches, once."""
    encode = clip.patcher.get_model_object("encode_token_weights")
    if isinstance(encode, PersonaEncode):
        return
    bypass = Bypass()
    clip.patcher.add_object_patch("encode_token_weights", PersonaEncode(encode, towers, bypass))
    for tower in towers.towers:
        layers = f"{tower.name}.transformer.text_model.encoder.forward"
        clip.patcher.add_object_patch(layers, BypassLayers(clip.patcher.get_model_object(layers), tower.key, bypass))
