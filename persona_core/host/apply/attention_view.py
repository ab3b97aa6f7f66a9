"""Where each word of a prompt looks while the host's own sampler paints it (the papers' Figures 1, 2 and 6).

Shapes: L tokens of a section, h x w of the latents.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import comfy.sample
from comfy.model_patcher import ModelPatcher
from comfy.sd import CLIP
from torch import Tensor

from ...attention import shown_sizes, token_maps
from ..clip import TextTower, text_towers
from ..model import cross_attention_blocks
from ..tokenizer import PersonaToken
from .places import BIAS, chosen_attention
from .prompt import Section
from .sampling import discrete_timestep

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

    latents: empty ones [1, C, h, w]. Returns the painted latents and one WordMaps a moment.
    Raises ValueError for a text without a word.
    """
    tower = text_towers(clip).first
    section = clip.tokenize(text)[tower.key][0]
    if not words_at(section, 0, tower):
        raise ValueError("The text holds no word whose attention could be shown. Write a prompt.")
    watched, seen = watching(model, tuple(latents.shape[-2:]), moments)
    conditionings = [clip.encode_from_tokens_scheduled(clip.tokenize(prompt)) for prompt in (text, negative)]
    painted = comfy.sample.sample(
        watched, comfy.sample.prepare_noise(latents, seed), steps, cfg, sampler, scheduler, *conditionings, latents,
        callback=lambda step, *rest: on_step(step + 1, steps), disable_pbar=True, seed=seed,
    )  # fmt: skip
    found = []
    for moment in moments:
        t, maps = seen[moment].t, seen[moment].total / seen[moment].count
        found.append(WordMaps(t, {word: maps[places].sum(0) for word, places in words_at(section, t, tower)}))
    return painted, found


@dataclass
class Seen:
    """The sum of the maps [L, h, w] that layers had at timestep t, and of how many."""

    t: float
    total: Tensor | float = 0.0
    count: int = 0


def watching(
    model: ModelPatcher, size: tuple[int, int], moments: Sequence[float]
) -> tuple[ModelPatcher, dict[float, Seen]]:
    """A clone of the MODEL, and for each moment what its layers at 1/2 and 1/4 of the size will see nearest to it.

    Of the first positive row, whichever guider samples.
    """
    model, seen = model.clone(), {}
    sampling = model.get_model_object("model_sampling")
    shown = shown_sizes(size)

    def keep(t: float, maps: Tensor) -> None:
        for moment in moments:
            if moment not in seen or abs(t - moment) < abs(seen[moment].t - moment):
                seen[moment] = Seen(t)
            if seen[moment].t == t:
                seen[moment].total = seen[moment].total + maps.cpu()
                seen[moment].count += 1

    def watched(original: Callable):
        def attend(query: Tensor, key: Tensor, value: Tensor, extra: dict) -> Tensor:
            shape, groups = tuple(extra["activations_shape"][2:]), extra["cond_or_uncond"]
            if shape in shown and 0 in groups:
                row, bias = groups.index(0) * (len(query) // len(groups)), extra.get(BIAS)
                parts = [whole if whole is None else whole[row : row + 1] for whole in (query, key, bias)]
                maps = token_maps(*parts[:2], extra["n_heads"], shape, size, parts[2])
                keep(discrete_timestep(sampling, extra["sigmas"][:1]), maps[0])
            return original(query, key, value, extra)

        return attend

    replaced = model.model_options.get("transformer_options", {}).get("patches_replace", {}).get("attn2", {})
    for block in cross_attention_blocks(model.model.diffusion_model):
        original = replaced.get(block, replaced.get(block[:2], chosen_attention))
        model.set_model_attn2_replace(watched(original), *block)
    return model, seen


def words_at(section: Section, t: float, tower: TextTower) -> list[tuple[str, list[int]]]:
    """The words of a prompt and the places of their tokens in its context at t, in reading order.

    A persona's N tokens count as one word; while its common word stands for it, it has one token.
    A word that comes twice is told apart by its number.
    """
    words, place, begun = [], 0, None
    for token, _ in section:
        if isinstance(token, PersonaToken):
            dynamic = token.subject.applied.vectors(t) is not None
            if token.index == 0:
                words.append((token.subject.placeholder, [place]))
            elif dynamic:
                words[-1][1].append(place)
            place += 1 if dynamic or token.index == 0 else 0
            begun = None
            continue
        if isinstance(token, int) and token not in tower.special_tokens:
            piece = tower.tokenizer.inv_vocab[token]
            if begun is None:
                words.append(("", []))
            words[-1] = (words[-1][0] + piece.removesuffix(WORD_END), [*words[-1][1], place])
            begun = None if piece.endswith(WORD_END) else True
        place += 1
    counted: dict[str, int] = {}
    for index, (word, places) in enumerate(words):
        counted[word] = counted.get(word, 0) + 1
        if counted[word] > 1:
            words[index] = (f"{word} ({counted[word]})", places)
    return words
