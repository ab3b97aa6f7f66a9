"""Teaches a CLIP a placeholder: whatever node encodes a prompt that holds it gets a conditioning with its table.

Shapes: L tokens of the context, D its width, W that of one text encoder, R rows of its batch.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import accumulate

import comfy.sd
import torch
from torch import Tensor, nn

from ...files import QUOTED, shown
from ...persona import LAST_LAYER, Persona
from ...table import AppliedPersona, ContextTable, Place, Segment, plan
from ..clip import StandIn, TextTowers, layer_in_use, text_towers
from ..messages import warn
from ..tokenizer import PersonaTokens, known_placeholders, warn_of_text, whole, with_placeholder
from .bypass import Bypass, BypassLayers
from .portions import check_room, portions
from .prompt import (
    PlaceholderEmbeddings,
    Point,
    Row,
    Section,
    Subject,
    Word,
    count_of,
    fill,
    ids_in,
    subjects_in,
    tokens_of,
)  # fmt: skip
from .sampling import attach

ENCODE = "encode_token_weights"


def apply_to_clip(clip: comfy.sd.CLIP, applied: AppliedPersona, placeholder: str, hooked: bool = True) -> comfy.sd.CLIP:
    """A clone of `clip` in which `placeholder`, anywhere in a prompt, is this persona.

    What encodes a prompt with it then gives a conditioning that carries a `ContextTable`. Other placeholders of `clip`
    stay. hooked: see `sampling.attach`. Raises ValueError with a sentence for a placeholder that cannot be used, and
    for a persona of another family; UnsupportedModel.
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
    install(patched, towers, placeholder)
    return patched


def warn_of_another_layer(persona: Persona, layer: int) -> None:
    """Say where a persona meets a CLIP that stops at another layer than where it was learned: it fits less there."""
    learned = persona.settings.get(LAST_LAYER)  # files of before do not say it
    if isinstance(learned, int) and learned != layer:
        warn(
            f"The persona '{persona.name}' was learned with a CLIP that stops at layer {learned}; this one stops at "
            f"{layer}, where it is less like the photo. Put CLIP Set Last Layer with {learned} before Apply, or learn "
            "the persona again."
        )


def check_placeholder(placeholder: str, taken: Iterable[str]) -> None:
    said = shown(placeholder, QUOTED)
    if not placeholder.strip() or placeholder != placeholder.strip():
        raise ValueError(
            f"The placeholder {said} must not be empty or begin or end with a space. Use a word such as <ann>."
        )
    if any(character in placeholder for character in "():\\"):
        raise ValueError(
            f"The placeholder {said} must not hold brackets, colons or backslashes: prompts use them for "
            "weights. Use a word such as <ann>."
        )
    if any(character.isspace() or not character.isprintable() or character in "\"'`=" for character in placeholder):
        raise ValueError(
            f"The placeholder {said} must be one word, without spaces, quotes or '='. Use a word such as <ann>."
        )
    if not any(character.isalpha() for character in placeholder):
        raise ValueError(f"The placeholder {said} must hold a letter. Use a word such as <ann>.")
    for other in taken:
        if placeholder in other or other in placeholder:
            raise ValueError(
                f"The placeholder {said} cannot be told from '{other}', which an earlier Apply uses. Give "
                "each persona its own, such as <ann> and <bob>."
            )


class PersonaEncode(StandIn):
    """Stands in for the host's `encode_token_weights` on a CLIP that knows placeholders.

    It returns the prompt with each supercategory's word in place, as the host encodes that, and beside it the
    table of contexts over t. Prompts without persona go to the host's own method untouched.
    """

    def __init__(
        self, original, columns: Mapping[str, slice], bypass: Bypass, read: Callable, texts: Mapping[str, str]
    ):
        """columns: of the context, for each encoder by its key. read: gives the text of token ids. texts: what it gives
        for each placeholder as mere text."""
        super().__init__(original)
        self.columns, self.bypass, self.read, self.texts = columns, bypass, read, texts

    def __call__(self, pairs: Mapping[str, list[Section]]):
        sections = {key: pairs[key] for key in self.columns}
        subjects = subjects_in(sections)
        if not subjects:
            text = " ".join(self.read(ids_in(one)) for one in sections.values())
            if as_text := [one for one, its in self.texts.items() if re.search(whole(its), text)]:
                warn_of_text(as_text)
            return self.original(pairs)
        self.compare_layers(subjects)
        segments, moving = plan([subject.applied for subject in subjects]), self.moving(sections)
        self.check_room(segments, len(moving))
        words = {
            key: [fill(section, key, columns, {}) for section in sections[key]] for key, columns in self.columns.items()
        }
        context, pooled, *extra = self.original(
            {**pairs, **{key: [row.pairs for row in encoder] for key, encoder in words.items()}}
        )
        everywhere = self.places(words, 0, range(count_of(sections)), count_of(sections))
        hooked = all(subject.hooked for subject in subjects)
        context, followed = attach(self.table(context, sections, subjects, segments, moving, everywhere), hooked)
        return context, pooled, {**(extra[0] if extra else {}), **followed}

    def table(
        self,
        base: Tensor,
        sections: Mapping[str, Sequence[Section]],
        subjects: Sequence[Subject],
        segments: Sequence[Segment],
        moving: Sequence[int],
        everywhere: tuple[Place, ...],
    ) -> ContextTable:
        """All contexts of a prompt's moving sections: for K, for V, and without the personas where a persona preserves
        the context."""
        placeholders = frozenset(subject.placeholder for subject in subjects)
        lengths = [len(segment.grid) for segment in segments]
        grid = [Point.at(t, subjects) for segment in segments for t in segment.grid]
        if not grid or not moving:
            return ContextTable(base, (), (), (), placeholders, (), everywhere)
        preserved = [point.preserved for point in grid]
        # Without the personas, all of a segment is one prompt.
        firsts = list(accumulate(lengths[:-1], initial=0))
        starts = firsts if any(preserved) else ()
        sides = (
            [point.embeddings(PlaceholderEmbeddings.for_keys) for point in grid],
            [point.embeddings(PlaceholderEmbeddings.for_values) for point in grid],
            [grid[start].embeddings(PlaceholderEmbeddings.without) for start in starts],
        )
        rows = self.rows(sections, moving, [embeddings for side in sides for embeddings in side])
        places = tuple(self.places(rows, first * len(moving), moving, count_of(sections)) for first in firsts)
        contexts = self.encode_all(rows, len(moving), len(grid))
        keys, values, without = contexts.split([len(side) for side in sides])
        if any(preserved):
            others = self.others(rows).reshape(contexts.shape)[: len(grid)].to(keys)
            share = others * torch.tensor(preserved).to(keys)[:, None, None]
            without = without.repeat_interleave(torch.tensor(lengths, device=without.device), 0)
            keys, values = torch.lerp(keys, without, share), torch.lerp(values, without, share)
        sides = keys.split(lengths), values.split(lengths)
        tokens = None if len(moving) == count_of(sections) else tokens_of(moving, base, count_of(sections))
        return ContextTable(base, tuple(segments), *sides, placeholders, places, everywhere, tokens)

    def moving(self, sections: Mapping[str, Sequence[Section]]) -> list[int]:
        """The numbers of the sections whose contexts change with t: those with a persona, where a section's context
        does not depend on the others."""
        each = range(count_of(sections))
        if not self.sections_are_independent():
            return list(each)
        return [number for number in each if subjects_in({key: [one[number]] for key, one in sections.items()})]

    def check_room(self, segments: Sequence[Segment], moving: int) -> None:
        """Of the contexts of so many sections, before anything is encoded."""
        points = sum(len(segment.grid) for segment in segments)
        check_room((2 * points + len(segments)) * moving, max(columns.stop for columns in self.columns.values()))

    def places(
        self, rows: Mapping[str, Sequence[Row]], first: int, numbers: Sequence[int], count: int
    ) -> tuple[Place, ...]:
        """Of the personas in a prompt that have one, also while their words stand. first: of its rows, which are the
        sections of these numbers, of `count`. Where the text encoders were given other texts, a token of one is at a
        place where the other has none."""
        tokens: dict[Subject, Tensor] = {}
        for encoder in rows.values():
            for number, row in zip(numbers, encoder[first:]):
                for place, subject in row.persona.items():
                    if subject.applied.mask is not None:
                        found = tokens.setdefault(subject, torch.zeros(count, len(row.pairs)))
                        found[number, place] = 1
        return tuple(Place(subject.applied.mask, found.reshape(1, -1)) for subject, found in tokens.items())

    def rows(
        self,
        sections: Mapping[str, Sequence[Section]],
        numbers: Sequence[int],
        prompts: Sequence[Mapping[Subject, PlaceholderEmbeddings]],
    ) -> dict[str, list[Row]]:
        """The prompt's sections of these numbers once for each set of embeddings, for each encoder by its key."""
        return {
            key: [fill(sections[key][number], key, columns, one) for one in prompts for number in numbers]
            for key, columns in self.columns.items()
        }

    def encode_all(self, rows: Mapping[str, Sequence[Row]], count: int, points: int) -> Tensor:
        """The contexts [prompts, L, D] of rows, `count` a prompt: of the first `points` prompts for K, as many for V,
        and those without the personas. In portions; or one prompt after the other, where a section's context depends on
        the others."""
        prompts = len(next(iter(rows.values()))) // count
        contexts: Tensor | None = None
        alone = ((range(0), [prompt]) for prompt in range(prompts))
        for keys, others in portions(prompts, count, points) if self.sections_are_independent() else alone:
            some = [*keys, *others]
            places = [prompt * count + section for prompt in some for section in range(count)]
            part = {key: [encoder[place] for place in places] for key, encoder in rows.items()}
            found = self.encode(part, len(keys) * count)
            found = found.reshape(len(some), -1, found.shape[-1])
            if contexts is None:
                contexts = found.new_empty(prompts, *found.shape[1:])
            contexts[some] = found
        assert contexts is not None
        return contexts

    def encode(self, rows: Mapping[str, Sequence[Row]], spared: int) -> Tensor:
        """The contexts of sections as those of one prompt."""
        with self.bypass.during(rows, spared):
            return self.original({key: [row.pairs for row in encoder] for key, encoder in rows.items()})[0]

    def sections_are_independent(self) -> bool:
        """Whether the host's own code encodes, each section whatever the others are. Packs that weigh words in other
        styles put theirs in its place, and some of them look at the whole prompt."""
        return all(is_the_hosts(getattr(encoder, ENCODE, None)) for encoder in self.encoders())

    def compare_layers(self, subjects: Sequence[Subject]) -> None:
        """Here and not in Apply: CLIP Set Last Layer may stand behind it."""
        first = self.encoders()[0]
        if first is not None:
            for persona in {id(subject.applied.persona): subject.applied.persona for subject in subjects}.values():
                warn_of_another_layer(persona, layer_in_use(first))

    def encoders(self) -> list[nn.Module | None]:
        """The host's, in the order of `columns`; None where a pack's own method stands in the place of the host's."""
        model = getattr(self.original, "__self__", None)
        return [getattr(model, f"clip_{key}", None) for key in self.columns]

    def others(self, rows: Mapping[str, Sequence[Row]]) -> Tensor:
        """True at the numbers of the contexts [rows, L, D] that are of no persona's token."""
        encoders = []
        for key, columns in self.columns.items():
            others = torch.tensor([[place not in row.persona for place in range(len(row.pairs))] for row in rows[key]])
            encoders.append(others[..., None].expand(-1, -1, columns.stop - columns.start))
        return torch.cat(encoders, -1)


def is_the_hosts(method) -> bool:
    """Whether it is what the host wrote for the class."""
    owner = getattr(method, "__self__", None)
    return owner is not None and method.__func__ is getattr(type(owner), ENCODE, None)


def install(clip: comfy.sd.CLIP, towers: TextTowers, placeholder: str) -> None:
    """Put the stand-ins on a cloned CLIP through the host's object patches; those that are there stay."""
    patcher = clip.patcher
    method = patcher.get_model_object(ENCODE)
    read = towers.first.text
    earlier = method if isinstance(method, PersonaEncode) else PersonaEncode(method, {}, Bypass(), read, {})
    ends = list(accumulate(towers.widths, initial=0))
    columns = {tower.key: slice(*span) for tower, span in zip(towers.towers, zip(ends, ends[1:]))}
    text = read(towers.first.tokenizer.tokenizer(placeholder)["input_ids"][1:-1])
    texts = {**earlier.texts, placeholder: text}
    patcher.add_object_patch(ENCODE, PersonaEncode(earlier.original, columns, earlier.bypass, read, texts))
    if earlier is method:
        return
    for tower in towers.towers:
        layers, embeddings = f"{tower.name}.transformer.text_model.encoder.forward", tower.transformer.embeddings
        inside = BypassLayers(patcher.get_model_object(layers), tower.key, embeddings, earlier.bypass)
        patcher.add_object_patch(layers, inside)
