"""Teaches a CLIP a placeholder: whatever node encodes a prompt that holds it gets a conditioning with its table.

Shapes: L tokens of the context, D its width, W that of one text encoder, R rows of its batch.
"""

import re
from collections.abc import Mapping, Sequence
from itertools import accumulate

import comfy.sd
import torch
from torch import Tensor, nn

from ...files import QUOTED, shown
from ...persona import LAST_LAYER, Persona
from ...table import AppliedPersona, ContextTable, Place, Segment, plan
from ..adapter import TARGET
from ..clip import StandIn, TextTowers, layer_in_use, text_towers
from ..messages import warn
from ..placeholder import check_placeholder, whole
from ..tokenizer import PersonaTokens, known_placeholders, warn_of_text, with_placeholder
from ..towers import QwenTower
from .bypass import Bypass, ClipLayers, QwenLayers
from .portions import at_once, check_room, portions
from .prompt import (
    PlaceholderEmbeddings,
    Point,
    Row,
    Section,
    Subject,
    count_of,
    fill,
    ids_in,
    subjects_in,
    tokens_of,
    words_of,
)  # fmt: skip
from .sampling import attach

ENCODE, MASK = "encode_token_weights", "attention_mask"


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
    words = words_of(persona, towers)
    subject = Subject(applied, placeholder, words, hooked)
    # Without the persona a long prompt must be cut into stretches of 77 where the plain one is.
    count = persona.representation.tokens if applied.strength else len(words[towers.first.key].spaced)
    tokens = {
        tower.name: PersonaTokens(word, subject, count)
        for tower, word in zip(towers.towers, persona.representation.word.split(towers.widths, -1))
    }
    if towers.target:
        tokens[TARGET] = tokens[towers.first.name]  # none of which it has: it reads the word
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
            f"The persona {shown(persona.name, QUOTED)} was learned with a CLIP that stops at layer {shown(learned)}; "
            f"this one stops at {layer}, where it is less like the photo. Put CLIP Set Last Layer with "
            f"{shown(learned)} before Apply, or learn the persona again."
        )


class PersonaEncode(StandIn):
    """Stands in for the host's `encode_token_weights` on a CLIP that knows placeholders.

    It returns the prompt with each supercategory's word in place, as the host encodes that, and beside it the
    table of contexts over t. Prompts without persona go to the host's own method untouched.
    """

    def __init__(self, original, towers: TextTowers, bypass: Bypass, texts: Mapping[str, str]):
        """texts: what the text encoder reads for each placeholder as mere text."""
        super().__init__(original)
        self.towers, self.bypass, self.texts = towers, bypass, texts
        ends = list(accumulate(towers.widths, initial=0))
        # Of the context, for each encoder by its key.
        self.columns = {tower.key: slice(*span) for tower, span in zip(towers.towers, zip(ends, ends[1:]))}

    def __call__(self, pairs: Mapping[str, list[Section]]):
        sections = {key: pairs[key] for key in self.columns}
        subjects = subjects_in(sections)
        if not subjects:
            text = " ".join(self.towers.first.text(ids_in(one)) for one in sections.values())
            if as_text := [one for one, its in self.texts.items() if re.search(whole(its), text)]:
                warn_of_text(as_text)
            return self.original(pairs)
        self.compare_layers(subjects)
        segments, moving = plan([subject.applied for subject in subjects]), self.moving(sections)
        self.check_room(segments, len(moving), max(len(one) for encoder in sections.values() for one in encoder))
        words = {
            key: [fill(section, key, columns, {}) for section in sections[key]] for key, columns in self.columns.items()
        }
        context, pooled, *extra = self.original(
            {**pairs, **{key: [row.pairs for row in encoder] for key, encoder in words.items()}}
        )
        everywhere = self.places(words, 0, range(count_of(sections)), count_of(sections))
        hooked = all(subject.hooked for subject in subjects)
        table = self.table(context, sections, subjects, segments, moving, everywhere)
        beside = {**(extra[0] if extra else {})}
        if MASK in beside:
            beside[MASK] = beside[MASK].new_ones(table.base.shape[:2])
        context, followed = attach(table, hooked)
        return context, pooled, {**beside, **followed}

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
        for_keys = [] if self.towers.joint else [point.embeddings(PlaceholderEmbeddings.for_keys) for point in grid]
        sides = (
            for_keys,
            [point.embeddings(PlaceholderEmbeddings.for_values) for point in grid],
            [grid[start].embeddings(PlaceholderEmbeddings.without) for start in starts],
        )
        rows = self.rows(sections, moving, [embeddings for side in sides for embeddings in side])
        places = tuple(self.places(rows, first * len(moving), moving, count_of(sections)) for first in firsts)
        contexts = self.encode_all(rows, len(moving), len(for_keys))
        keys, values, without = contexts.split([len(side) for side in sides])
        if any(preserved):
            others = self.others(rows).reshape(contexts.shape)[: len(grid)].to(values)
            share = others * torch.tensor(preserved).to(values)[:, None, None]
            without = without.repeat_interleave(torch.tensor(lengths, device=without.device), 0)
            values = torch.lerp(values, without, share)
            keys = torch.lerp(keys, without, share) if for_keys else keys
        if not self.towers.sectioned:
            base, keys, values = as_long(base, keys if for_keys else values, values)
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

    def check_room(self, segments: Sequence[Segment], moving: int, length: int) -> None:
        """Of the contexts of so many sections, before anything is encoded."""
        points = sum(len(segment.grid) for segment in segments)
        check_room((2 * points + len(segments)) * moving, self.towers.width, length)

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
        and those without the personas; zeros behind one that is shorter than others. In portions; or one prompt after
        the other, where a section's context depends on the others."""
        first = next(iter(rows.values()))
        prompts = len(first) // count
        lengths = [len(first[prompt * count].pairs) for prompt in range(prompts)]
        contexts: Tensor | None = None
        for length in set(lengths):
            alike = [prompt for prompt in range(prompts) if lengths[prompt] == length]
            alone = ((range(0), [number]) for number in range(len(alike)))
            most = None if self.towers.sectioned else at_once(length, self.towers.width)
            together = portions(len(alike), count, sum(prompt < points for prompt in alike), most)
            for keys, others in together if self.sections_are_independent() else alone:
                some = [alike[number] for number in (*keys, *others)]
                places = [prompt * count + section for prompt in some for section in range(count)]
                part = {key: [encoder[place] for place in places] for key, encoder in rows.items()}
                found = self.encode(part, len(keys) * count)
                found = found.reshape(len(some), -1, found.shape[-1])
                if contexts is None:
                    longest = found.shape[1] + max(lengths) - length
                    contexts = found.new_zeros(prompts, longest, found.shape[-1])
                contexts[some, : found.shape[1]] = found
        assert contexts is not None
        return contexts

    def encode(self, rows: Mapping[str, Sequence[Row]], spared: int) -> Tensor:
        """The contexts of sections as those of one prompt."""
        target = {TARGET: [[]]} if self.towers.target else {}  # the host asks for its words, which make no context
        with self.bypass.during(rows, spared):
            pairs = {key: [row.pairs for row in encoder] for key, encoder in rows.items()}
            return self.original({**target, **pairs})[0]

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
        return [getattr(model, tower.name, None) for tower in self.towers.towers]

    def others(self, rows: Mapping[str, Sequence[Row]]) -> Tensor:
        """True at the numbers of the contexts [rows, L, D] that are of no persona's token."""
        encoders = []
        for key, columns in self.columns.items():
            longest = max(len(row.pairs) for row in rows[key])
            others = torch.tensor([[place not in row.persona for place in range(longest)] for row in rows[key]])
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
    earlier = method if isinstance(method, PersonaEncode) else PersonaEncode(method, towers, Bypass(), {})
    texts = {**earlier.texts, placeholder: towers.first.text(towers.first.ids(placeholder))}
    patcher.add_object_patch(ENCODE, PersonaEncode(earlier.original, towers, earlier.bypass, texts))
    if earlier is not method:
        for tower in towers.towers:
            name, kind = (
                (f"{tower.path}.forward", QwenLayers)
                if isinstance(tower, QwenTower)
                else (f"{tower.path}.encoder.forward", ClipLayers)
            )
            patcher.add_object_patch(name, kind(patcher.get_model_object(name), tower, earlier.bypass))


def as_long(*contexts: Tensor) -> list[Tensor]:
    """Contexts [..., L, D] with zeros behind those that are shorter, which are no tokens (`sampling.at_timestep`)."""
    longest = max(one.shape[-2] for one in contexts)
    return [torch.nn.functional.pad(one, (0, 0, 0, longest - one.shape[-2])) for one in contexts]
