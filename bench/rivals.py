"""The rows of the quality table: Textual Inversion, PersonaMagic whole, and PersonaMagic with one part taken out."""

from dataclasses import dataclass, replace

import torch
from einops import rearrange
from torch import Tensor, nn

from persona_core.host.learn.attention_curve import attention_curve
from persona_core.kv_tokens import TokenExpander
from persona_core.losses import PLACEHOLDER, PROMPT
from persona_core.mapper import HIDDEN, StageMapper, zero_linear
from persona_core.photos import Photo
from persona_core.prompts import PHOTO_PROMPTS
from persona_core.recipes import KVTokensRecipe, Recipe, StageMapperRecipe
from persona_core.representation import Learnable, Saved, TokenVectors, on_sphere
from persona_core.stages import GRID, LAST_TIMESTEP, Stages, partition
from persona_core.task import TrainingSettings

ALWAYS, MIDDLE = Stages(0, LAST_TIMESTEP), Stages()
THIRDS = Stages(333, 666)
# Textual Inversion's published learning rate, and a slower one, which overfits later.
PUBLISHED_RATE, CAREFUL_RATE = 5e-3, 2e-3
DRAWS = 4  # of noise at each timestep at which stages are looked for
KV_RATE = 5e-3


class StaticVector(Learnable, Saved):
    """Textual Inversion (arXiv 2208.01618): one vector, the same at all timesteps, that starts at the word."""

    tokens, stages, starts = 1, ALWAYS, (0,)

    def __init__(self, word: Tensor):
        super().__init__()
        self.register_buffer("word", word.detach().clone().float())
        self.widths, self.vector = (len(word),), nn.Parameter(self.word.clone())

    def at(self, t: Tensor, picture: Tensor | None = None) -> TokenVectors:
        vectors = self.vector.expand(len(t), 1, -1)
        return TokenVectors(vectors, vectors)

    def clamped(self, t: float) -> float:
        return 0

    def exported(self) -> "StaticVector":
        return self


class StagedVector(StaticVector):
    """Textual Inversion's vector, learned at all timesteps, that stands in the middle stage alone: before and after it
    the word does."""

    starts = (MIDDLE.t_lo, MIDDLE.t_hi + 1)

    def at(self, t: Tensor, picture: Tensor | None = None) -> TokenVectors:
        inside = ((t >= MIDDLE.t_lo) & (t <= MIDDLE.t_hi))[:, None, None]
        vectors = torch.where(inside, super().at(t).keys, self.word)
        return TokenVectors(vectors, vectors)

    def clamped(self, t: float) -> float:
        return max((first for first in self.starts if first <= t), default=0)


class LearnedEverywhere(StaticVector):
    """A StagedVector as it is learned."""

    def exported(self) -> StagedVector:
        staged = StagedVector(self.word)
        staged.load_state_dict(self.state_dict())
        return staged


class Variant(StageMapper):
    """A mapper with something changed; a file would not know that, so it is used as it is."""

    def exported(self) -> "Variant":
        return self


class WithoutBypass(Variant):
    """The tokens alone."""

    def at(self, t: Tensor, picture: Tensor | None = None) -> TokenVectors:
        return replace(super().at(t, picture), bypass=None)


class WithoutSphere(Variant):
    """Vectors of any length."""

    def at(self, t: Tensor, picture: Tensor | None = None) -> TokenVectors:
        vectors = rearrange(self.head(self.time_feature(t)), "b (n d) -> b n d", n=self.tokens) + self.word
        return TokenVectors(vectors, vectors, super().at(t, picture).bypass)


class SeparateHeads(Variant):
    """Dynamic K/V: a head of its own for V's tokens, beside the bypass."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.value_head = zero_linear(HIDDEN, self.tokens * len(self.word))

    def at(self, t: Tensor, picture: Tensor | None = None) -> TokenVectors:
        offsets = rearrange(self.value_head(self.time_feature(t)), "b (n d) -> b n d", n=self.tokens)
        return replace(super().at(t, picture), values=on_sphere(offsets + self.word, self.word))


class OneSided(TokenExpander):
    """K/V tokens of which only one side is learned; at the other stands the word."""

    def __init__(self, word: Tensor, count: int, seed: int, keys: bool):
        super().__init__(word, count, seed)
        self.keys = keys

    def expand(self) -> Tensor:
        pairs = super().expand()
        side = torch.tensor([self.keys, not self.keys], device=pairs.device)[:, None]
        return torch.where(side, pairs, self.word)


@dataclass(frozen=True)
class OneSidedRecipe(KVTokensRecipe):
    """keys: whether K is the side that is learned."""

    keys: bool = True

    def representation(self, word: Tensor, images: Tensor | None, widths: tuple[int, ...] = ()) -> OneSided:
        return OneSided(word, self.pairs, self.learning.seed, self.keys)


@dataclass(frozen=True)
class TextualInversion(StageMapperRecipe):
    """To be used with te_weight=0."""

    vector: type[StaticVector] = StaticVector

    def representation(self, word: Tensor, images: Tensor | None, widths: tuple[int, ...] = ()) -> StaticVector:
        return self.vector(word)


@dataclass(frozen=True)
class Altered(StageMapperRecipe):
    """PersonaMagic with another mapper."""

    mapper: type[StageMapper] = StageMapper

    def representation(self, word: Tensor, images: Tensor | None, widths: tuple[int, ...] = ()) -> StageMapper:
        return self.mapper(word, self.stages, self.tokens, images, self.learning.seed)


@dataclass(frozen=True)
class Rival:
    """One row. masked: whether the loss looks at the person only. looked_up: the stages come from attention.
    augmented: whether variants of the photo are learned.

    after: the steps at which the persona is tried out; the last one is how long is learned.
    """

    title: str
    recipe: Recipe
    masked: bool = True
    looked_up: bool = False
    augmented: bool = False
    after: tuple[int, ...] = ()

    def rows(self, name: str) -> dict[str, int]:
        """The table's rows, with their steps; the one that learns as long as all others has just the name."""
        return {name if after == self.recipe.learning.steps else f"{name}_{after}": after for after in self.after}

    def stages(self, models, photo: Photo) -> tuple[Stages, int]:
        """And the passes that finding them took."""
        if not self.looked_up:
            return self.recipe.stages, 0
        curve = attention_curve(*models, photo, self.recipe.supercategory, GRID, DRAWS, 0, lambda done, total: None)
        return partition(curve.timesteps, curve.iou).stages, len(curve.timesteps)


def kv_recipe(
    settings: TrainingSettings, recipe: type[KVTokensRecipe] = KVTokensRecipe, **changes: object
) -> KVTokensRecipe:
    """K/V tokens, learned from the photo and the prompts of the others, at their own rate."""
    learning = replace(settings, learning_rate=KV_RATE, weight_decay=0.0)
    return recipe(supercategory="face", resolution=32, learning=learning, prompts=PHOTO_PROMPTS, **changes)


def rivals(settings: TrainingSettings, te_weight: float, budgets: tuple[int, ...]) -> dict[str, Rival]:
    """All rows that learn, by a short name. settings, te_weight: PersonaMagic's."""
    steps = (settings.steps,)
    all_steps = tuple(sorted({*budgets, *steps}))
    full = StageMapperRecipe(te_weight=te_weight, resolution=32, learning=settings)

    def static(rate: float, vector: type[StaticVector] = StaticVector) -> TextualInversion:
        learning = replace(settings, learning_rate=rate)
        return TextualInversion(te_weight=0.0, resolution=32, learning=learning, vector=vector)

    def inversion(rate: float) -> Rival:
        return Rival(f"Textual Inversion, rate {rate:g}", static(rate), masked=False, after=all_steps)

    def kv(
        title: str,
        recipe: type[KVTokensRecipe] = KVTokensRecipe,
        masked: bool = True,
        augmented: bool = False,
        **changes,
    ) -> Rival:
        made = kv_recipe(settings, recipe, **changes)
        return Rival(f"K/V tokens: {title}", made, masked=masked, augmented=augmented, after=steps)

    def altered(mapper: type[StageMapper]) -> Altered:
        return Altered(te_weight=te_weight, resolution=32, learning=settings, mapper=mapper)

    return {
        "textual_inversion": inversion(PUBLISHED_RATE),
        "careful_inversion": inversion(CAREFUL_RATE),
        "staged_inversion": Rival(
            f"Textual Inversion, rate {PUBLISHED_RATE:g}, used in {MIDDLE.t_lo}-{MIDDLE.t_hi} only",
            static(PUBLISHED_RATE, LearnedEverywhere),
            masked=False,
            after=steps,
        ),
        "full": Rival("PersonaMagic, all of it (N = 4)", full, after=all_steps),
        "no_stages": Rival("without stages: 0-999", replace(full, stages=ALWAYS), after=steps),
        "weak_te": Rival("Tandem Equilibrium as published, 0.001", replace(full, te_weight=1e-3), after=steps),
        "no_te": Rival("without Tandem Equilibrium", replace(full, te_weight=0.0), after=steps),
        "no_bypass": Rival("without the bypass", altered(WithoutBypass), after=steps),
        "no_mask": Rival("without the mask", full, masked=False, after=steps),
        "no_sphere": Rival("without the sphere", altered(WithoutSphere), after=steps),
        "n1": Rival("PersonaMagic, N = 1", replace(full, tokens=1), after=all_steps),
        "n2": Rival("N = 2", replace(full, tokens=2), after=steps),
        "n8": Rival("N = 8", replace(full, tokens=8), after=steps),
        "partition": Rival("stages from attention", full, looked_up=True, after=steps),
        "thirds": Rival("stages 333-666", replace(full, stages=THIRDS), after=steps),
        "attention": Rival("with face-wise attention loss", replace(full, attention_weight=3e-3), after=steps),
        "dynamic_kv": Rival("separate heads for K and V", altered(SeparateHeads), after=steps),
        "kv": kv("5 pairs, attention loss 0.003 on all tokens"),
        "kv_augmented": kv("the same, from variants of the photo", augmented=True),
        "kv_unmasked": kv("without the mask", masked=False),
        "kv_1": kv("1 pair", pairs=1),
        "kv_10": kv("10 pairs", pairs=10),
        "kv_off": kv("without the attention loss", attention_weight=0.0),
        "kv_off_unmasked": kv("without the attention loss and the mask", masked=False, attention_weight=0.0),
        "kv_placeholder": kv("attention loss on the placeholder only", attention_tokens=PLACEHOLDER),
        "kv_prompt": kv("attention loss on the prompt's tokens", attention_tokens=PROMPT),
        "kv_weak": kv("attention loss 0.0003", attention_weight=3e-4),
        "kv_strong": kv("attention loss 0.03", attention_weight=3e-2),
        "kv_keys": kv("K only", OneSidedRecipe, keys=True),
        "kv_values": kv("V only", OneSidedRecipe, keys=False),
        "kv_te": kv("with Tandem Equilibrium", te_weight=te_weight),
    }
