"""Where each word of a prompt looks while the host's own sampler paints it (the papers' Figures 1, 2 and 6).

Shapes: L tokens of a section, h x w of the latents.
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import comfy.sample
from comfy.model_patcher import ModelPatcher
from comfy.sd import CLIP
from torch import Tensor

from ...attention import shown_sizes, token_maps
from ...stages import Stages
from ..clip import text_towers
from ..model import cross_attention_blocks, discrete_timestep
from ..tokenizer import PersonaToken
from ..towers import ClipTower
from .places import BIAS, chosen_attention
from .prompt import Section

WORD_END = "</w>"


@dataclass(frozen=True)
class WordMaps:
    """At timestep t, where each word looks: maps {word: [h, w]}, summed over its tokens."""

    t: float
    maps: dict[str, Tensor]


def watch(
    model: ModelPatcher,
    clip: CLIP,
    text: str,
    negative: str,
    latents: Tensor,
    moments: Sequence[float],
    *,
    steps: int,
    cfg: float,
    sampler: str,
    scheduler: str,
    seed: int,
    on_step: Callable[[int, int], None],
) -> tuple[Tensor, list[WordMaps]]:
    """Paint `text` and tell where its words look at the steps nearest to `moments` (timesteps 0..999).

    latents: empty ones [1, C, h, w]. Returns the painted latents and one WordMaps a moment; of moments that are nearest
    to one step, the same.
    Raises ValueError for a text without a word.
    """
    tower = text_towers(clip).first
    section = clip.tokenize(text)[tower.key][0]
    if not words_at(section, 0, tower):
        raise ValueError("The text holds no word whose attention could be shown. Write a prompt.")
    watched, seen = watching(model, tuple(latents.shape[-2:]), len(section), moments)
    conditionings = [clip.encode_from_tokens_scheduled(clip.tokenize(prompt)) for prompt in (text, negative)]
    painted = comfy.sample.sample(
        watched, comfy.sample.prepare_noise(latents, seed), steps, cfg, sampler, scheduler, *conditionings, latents,
        callback=lambda step, *rest: on_step(step + 1, steps), disable_pbar=True, seed=seed,
    )  # fmt: skip
    found = {}
    for t, step in seen.steps.items():
        maps = step.total / step.count
        found[t] = WordMaps(t, {word: maps[places].sum(0) for word, places in words_at(section, t, tower)})
    return painted, [found[seen.nearest[moment]] for moment in moments]


def stages_in(clip: CLIP, text: str) -> dict[str, Stages]:
    """The dynamic stages of the personas in a prompt, by what `words_at` calls them."""
    section = clip.tokenize(text)[text_towers(clip).first.key][0]
    subjects = [token.subject for token, *_ in section if isinstance(token, PersonaToken) and token.index == 0]
    stages = [subject.applied.persona.representation.stages for subject in subjects]
    return dict(zip(numbered([subject.placeholder for subject in subjects]), stages))


@dataclass
class Step:
    """The sum of the maps [L, h, w] that layers had at a timestep, and of how many."""

    total: Tensor | float = 0.0
    count: int = 0


@dataclass
class Seen:
    """Of each moment the timestep nearest to it so far, and the steps at those timesteps; no others are kept."""

    nearest: dict[float, float] = field(default_factory=dict)
    steps: dict[float, Step] = field(default_factory=dict)

    def keep(self, t: float, maps: Tensor, moments: Sequence[float]) -> None:
        for moment in moments:
            if abs(t - moment) < abs(self.nearest.get(moment, math.inf) - moment):
                self.nearest[moment] = t
        wanted = set(self.nearest.values())
        for passed in self.steps.keys() - wanted:
            del self.steps[passed]
        if t in wanted:
            step = self.steps.setdefault(t, Step())
            step.total, step.count = step.total + maps.cpu(), step.count + 1


def watching(
    model: ModelPatcher, size: tuple[int, int], length: int, moments: Sequence[float]
) -> tuple[ModelPatcher, Seen]:
    """A clone of the MODEL, and what its layers at 1/2 and 1/4 of the size will see nearest to the moments.

    Of the first positive row, whichever guider samples, and of the first `length` tokens.
    """
    model, seen = model.clone(), Seen()
    sampling = model.get_model_object("model_sampling")
    shown = shown_sizes(size)

    def watched(original: Callable):
        def attend(query: Tensor, key: Tensor, value: Tensor, extra: dict) -> Tensor:
            shape, groups = tuple(extra["activations_shape"][2:]), extra["cond_or_uncond"]
            if shape in shown and 0 in groups:
                row, bias = groups.index(0) * (len(query) // len(groups)), extra.get(BIAS)
                parts = [whole if whole is None else whole[row : row + 1] for whole in (query, key, bias)]
                maps = token_maps(*parts[:2], extra["n_heads"], shape, size, parts[2])
                seen.keep(discrete_timestep(sampling, extra["sigmas"][:1]), maps[0, :length], moments)
            return original(query, key, value, extra)

        return attend

    replaced = model.model_options.get("transformer_options", {}).get("patches_replace", {}).get("attn2", {})
    for block in cross_attention_blocks(model.model.diffusion_model):
        original = replaced.get(block, replaced.get(block[:2], chosen_attention))
        model.set_model_attn2_replace(watched(original), *block)
    return model, seen


def words_at(section: Section, t: float, tower: ClipTower) -> list[tuple[str, list[int]]]:
    """The words of a prompt and the places of their tokens in its context at t, in reading order.

    A persona's N tokens count as one word; while its common word stands for it, it has that one's.
    A word that comes twice is told apart by its number.
    """
    words, place, begun = [], 0, None
    for token, _ in section:
        if isinstance(token, PersonaToken):
            word = token.subject.words[tower.key].spaced
            there = token.index < len(word) or token.subject.applied.vectors(t) is not None
            if token.index == 0:
                words.append((token.subject.placeholder, [place]))
            elif there:
                words[-1][1].append(place)
            place += there
            begun = None
            continue
        if isinstance(token, int) and token not in tower.special_tokens:
            piece = tower.tokenizer.inv_vocab[token]
            if begun is None:
                words.append(("", []))
            words[-1] = (words[-1][0] + piece.removesuffix(WORD_END), [*words[-1][1], place])
            begun = None if piece.endswith(WORD_END) else True
        place += 1
    return list(zip(numbered([word for word, _ in words]), [places for _, places in words]))


def numbered(words: Sequence[str]) -> list[str]:
    """Words that come again with their number: a, cup, a (2)."""
    counted, names = Counter(), []
    for word in words:
        counted[word] += 1
        names.append(word if counted[word] == 1 else f"{word} ({counted[word]})")
    return names
