"""The rows of the quality table: Textual Inversion, PersonaMagic whole, and PersonaMagic with one part taken out."""

from dataclasses import dataclass, replace

from einops import rearrange
from torch import Tensor, nn

from persona_core.host.learner import Recipe
from persona_core.host.partition import attention_curve
from persona_core.host.pictures import Photo
from persona_core.learning import LearningSettings
from persona_core.mapper import StageMapper, sinusoid
from persona_core.representation import TokenVectors
from persona_core.stages import GRID, LAST_TIMESTEP, Stages, partition

ALWAYS = Stages(0, LAST_TIMESTEP)
THIRDS = Stages(333, 666)
# Textual Inversion's published learning rate, and the one that did best on people who are not in the table.
PUBLISHED_RATE, CAREFUL_RATE = 5e-3, 2e-3
DRAWS = 4  # of noise at each timestep at which stages are looked for


class StaticVector(nn.Module):
    """Textual Inversion (arXiv 2208.01618): one vector, the same at all timesteps, that starts at the word."""

    tokens, stages = 1, ALWAYS

    def __init__(self, word: Tensor):
        super().__init__()
        self.register_buffer("word", word.detach().clone().float())
        self.vector = nn.Parameter(self.word.clone())

    def at(self, t: Tensor, picture: Tensor | None = None) -> TokenVectors:
        vectors = self.vector.expand(len(t), 1, -1)
        return TokenVectors(vectors, vectors)


class WithoutBypass(StageMapper):
    def at(self, t: Tensor, picture: Tensor | None = None) -> TokenVectors:
        return replace(super().at(t, picture), bypass=None)


class WithoutSphere(StageMapper):
    """Vectors of any length."""

    def at(self, t: Tensor, picture: Tensor | None = None) -> TokenVectors:
        features = self.time(self.anchors(sinusoid(t.to(self.word).clamp(self.stages.t_lo, self.stages.t_hi))))
        vectors = rearrange(self.head(features), "b (n d) -> b n d", n=self.tokens) + self.word
        return TokenVectors(vectors, vectors, super().at(t, picture).bypass)


@dataclass(frozen=True)
class TextualInversion(Recipe):
    def representation(self, word: Tensor, images: Tensor | None) -> StaticVector:
        return StaticVector(word)


@dataclass(frozen=True)
class Altered(Recipe):
    """PersonaMagic with another mapper."""

    mapper: type[StageMapper] = StageMapper

    def representation(self, word: Tensor, images: Tensor | None) -> StageMapper:
        return self.mapper(word, self.stages, self.tokens, images, self.learning.seed)


@dataclass(frozen=True)
class Rival:
    """One row. masked: whether the loss looks at the person only. looked_up: the stages come from attention.

    after: the steps at which the persona is tried out; the last one is how long is learned.
    """

    title: str
    recipe: Recipe
    masked: bool = True
    looked_up: bool = False
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


def rivals(settings: LearningSettings, te_weight: float, budgets: tuple[int, ...]) -> dict[str, Rival]:
    """All rows that learn, by a short name. settings, te_weight: PersonaMagic's."""
    steps = (settings.steps,)
    all_steps = tuple(sorted({*budgets, *steps}))
    full = Recipe(te_weight=te_weight, resolution=32, learning=settings)

    def static(rate: float) -> Rival:
        learning = replace(settings, learning_rate=rate)
        recipe = TextualInversion(te_weight=0.0, resolution=32, learning=learning)
        return Rival(f"Textual Inversion, rate {rate:g}", recipe, masked=False, after=all_steps)

    def altered(mapper: type[StageMapper]) -> Altered:
        return Altered(te_weight=te_weight, resolution=32, learning=settings, mapper=mapper)

    return {
        "textual_inversion": static(PUBLISHED_RATE),
        "careful_inversion": static(CAREFUL_RATE),
        "full": Rival("PersonaMagic, all of it (N = 4)", full, after=all_steps),
        "no_stages": Rival("without stages: 0-999", replace(full, stages=ALWAYS), after=steps),
        "weak_te": Rival("Tandem Equilibrium as published, 0.001", replace(full, te_weight=1e-3), after=steps),
        "no_te": Rival("without Tandem Equilibrium", replace(full, te_weight=0.0), after=steps),
        "no_bypass": Rival("without the bypass", altered(WithoutBypass), after=steps),
        "no_mask": Rival("without the mask", full, masked=False, after=steps),
        "no_sphere": Rival("without the sphere", altered(WithoutSphere), after=steps),
        "n1": Rival("N = 1", replace(full, tokens=1), after=steps),
        "n2": Rival("N = 2", replace(full, tokens=2), after=steps),
        "n8": Rival("N = 8", replace(full, tokens=8), after=steps),
        "partition": Rival("stages from attention", full, looked_up=True, after=steps),
        "thirds": Rival("stages 333-666", replace(full, stages=THIRDS), after=steps),
    }
