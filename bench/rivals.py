"""The rows of the quality table: Textual Inversion, both methods whole, and with one part taken out."""

from dataclasses import dataclass, replace

from torch import Tensor, nn

from persona_core.host.learn.attention_curve import attention_curve
from persona_core.photos import Photo
from persona_core.prompts import PHOTO_PROMPTS
from persona_core.recipes import Beginning, KVTokensRecipe, Recipe, StageMapperRecipe
from persona_core.representation import Learnable, Saved, TokenVectors
from persona_core.stages import GRID, LAST_TIMESTEP, Stages, partition

ALWAYS = Stages(0, LAST_TIMESTEP)
# Textual Inversion's published learning rate, and a slower one, which overfits later.
PUBLISHED_RATE, CAREFUL_RATE = 5e-3, 2e-3
USUAL, LONG, PUBLISHED = 200, 1000, 2000  # passes: of most rows, of overfitting, of PersonaMagic's own recipe
RESOLUTION = 128
DRAWS = 4  # of noise at each timestep at which stages are looked for


class StaticVector(Learnable, Saved):
    """Textual Inversion (arXiv 2208.01618): one vector, the same at all timesteps, that starts at the word."""

    tokens, stages, starts = 1, ALWAYS, (0,)

    def __init__(self, word: Tensor, widths: tuple[int, ...] = ()):
        super().__init__()
        self.register_buffer("word", word.detach().clone().float())
        self.widths, self.vector = widths or (len(word),), nn.Parameter(self.word.clone())

    def at(self, t: Tensor, picture: Tensor | None = None) -> TokenVectors:
        vectors = self.vector.expand(len(t), 1, -1)
        return TokenVectors(vectors, vectors)

    def clamped(self, t: float) -> float:
        return 0

    def exported(self) -> "StaticVector":
        return self


@dataclass(frozen=True, kw_only=True)
class TextualInversion(StageMapperRecipe):
    """To be used with te_weight=0."""

    tokens: int = 1

    def representation(self, beginning: Beginning) -> StaticVector:
        return StaticVector(beginning.word, beginning.widths)


@dataclass(frozen=True)
class Rival:
    """One row. kind: of subject, "person" or "cat". masked: whether the loss looks at the subject only. looked_up: the
    stages come from attention.

    passes: after how many through the UNet the persona is tried out; the last of them is how long is learned.
    """

    title: str
    recipe: Recipe
    kind: str = "person"
    masked: bool = True
    looked_up: bool = False
    passes: tuple[int, ...] = (USUAL,)

    def rows(self, name: str) -> dict[str, int]:
        """The table's rows, with their passes; the one that learns for USUAL passes has just the name."""
        return {name if passes == USUAL else f"{name}_{passes}": passes for passes in self.passes}

    def stages(self, models, photo: Photo) -> tuple[Stages | None, int]:
        """Stages from attention, if it says that they are, and the passes that finding them took."""
        if not self.looked_up:
            return None, 0
        curve = attention_curve(*models, photo, self.recipe.supercategory, GRID, DRAWS, 0, lambda done, total: None)
        return partition(curve.timesteps, curve.iou).stages, len(curve.timesteps)


def rivals(passes: tuple[int, ...]) -> dict[str, Rival]:
    """All rows that learn, by a short name. passes: after which PersonaMagic is tried out, and others as far as they
    are learned."""
    full = StageMapperRecipe(supercategory="person", resolution=RESOLUTION)

    def static(rate: float, kind: str = "person") -> TextualInversion:
        learning = replace(full.learning, learning_rate=rate)
        return TextualInversion(supercategory=kind, te_weight=0.0, resolution=RESOLUTION, learning=learning)

    def up_to(longest: int) -> tuple[int, ...]:
        return tuple(count for count in passes if count <= longest)

    def inversion(rate: float, longest: int) -> Rival:
        return Rival(f"Textual Inversion, rate {rate:g}", static(rate), masked=False, passes=up_to(longest))

    # At their published rate, from the photo and the prompts of the others.
    kv = KVTokensRecipe(supercategory="person", resolution=RESOLUTION, prompts=PHOTO_PROMPTS, attention_weight=0.0)
    return {
        "textual_inversion": inversion(PUBLISHED_RATE, USUAL),
        "careful_inversion": inversion(CAREFUL_RATE, LONG),
        "full": Rival("PersonaMagic, all of it (N = 4)", full, passes=passes),
        "n1": Rival("N = 1", replace(full, tokens=1)),
        "n2": Rival("N = 2", replace(full, tokens=2)),
        "no_stages": Rival("without stages: 0-999", replace(full, stages=ALWAYS)),
        "no_te": Rival("without Tandem Equilibrium", replace(full, te_weight=0.0)),
        "no_mask": Rival("without the mask", full, masked=False),
        "partition": Rival("stages from attention", full, looked_up=True),
        "kv": Rival("K/V tokens, 5 pairs, without the attention loss", kv, passes=up_to(USUAL)),
        "cat_inversion": Rival(
            f"a cat, Textual Inversion, rate {CAREFUL_RATE:g}", static(CAREFUL_RATE, "cat"), "cat", masked=False
        ),
        "cat_full": Rival("a cat, PersonaMagic (N = 4)", replace(full, supercategory="cat"), "cat"),
    }
