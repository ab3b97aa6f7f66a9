"""What an artist chooses: both papers' recipes, and how long and fast to learn (`make bench-choices` measures that)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from .faces import FACE_WORDS, HUMANS
from .kv_tokens import TokenExpander
from .losses import ALL, MEAN, ContextRegularization, FaceWiseAttention, TandemEquilibrium, masked_diffusion_loss
from .mapper import StageMapper, learning_units
from .prompts import FACE_PROMPTS, PHOTO_PROMPTS, RICH_PROMPTS
from .representation import Learnable, initializers
from .stages import Stages
from .task import NOISE, LossTerm, Objective, ReferenceWord, TrainingSettings

AUTO, BALANCED = "auto", "balanced"
MEASURED = TrainingSettings(steps=4000, learning_rate=0.0, batch_size=2, measured=True)
PRESETS = {
    AUTO: MEASURED,
    "quick": TrainingSettings(steps=30, learning_rate=6e-4, batch_size=2, decay=True, warmup=20),
    BALANCED: TrainingSettings(steps=50, learning_rate=4e-4, batch_size=4, decay=True, warmup=25),
    "published": TrainingSettings(),
}
STARTS = WORD, NAMES = "word", "names"
WEIGHTS = ABSOLUTE, RELATIVE = "absolute", "relative"
KV_PUBLISHED = TrainingSettings(learning_rate=5e-3, weight_decay=0.0)
KV_PRESETS = {
    AUTO: replace(MEASURED, weight_decay=0.0),
    BALANCED: replace(KV_PUBLISHED, steps=100, batch_size=4, decay=True, warmup=25),
    "published": KV_PUBLISHED,
}
DEFAULT = AUTO


def settings_of(
    preset: str,
    seed: int,
    steps: int = 0,
    learning_rate: float = 0.0,
    batch_size: int = 0,
    minutes: float = 0.0,
    presets: Mapping[str, TrainingSettings] = PRESETS,
) -> TrainingSettings:
    """A preset's settings, but for those that are given: 0 is the preset's.

    A learning rate of one's own scales the preset's schedule. With a number of steps of one's own nothing is left to
    measure: AUTO is then BALANCED, for so long. minutes: that AUTO may take; 0: as long as it needs.
    """
    usual = presets[BALANCED if preset == AUTO and steps else preset]
    return replace(
        usual,
        seed=seed,
        steps=steps or usual.steps,
        learning_rate=learning_rate or usual.learning_rate,
        batch_size=batch_size or usual.batch_size,
        warmup=usual.warmup * steps // usual.steps if 0 < steps < usual.steps else usual.warmup,
        minutes=minutes if usual.measured else 0.0,
    )


def captioned(templates: Sequence[str], caption: str) -> Sequence[str]:
    """Templates that also say what else is in the photo."""
    return [f"{template}, {caption}" for template in templates] if caption else templates


def kv_prompts(supercategory: str) -> Sequence[str]:
    """What K/V tokens are learned with: the paper's prompts speak of a face, so others' are of a photo."""
    return FACE_PROMPTS if supercategory.lower() in HUMANS else PHOTO_PROMPTS


@dataclass(frozen=True)
class Beginning:
    """Where learning begins, which the models tell.

    word: [D] or [S, D], the supercategory's. images: [M, E] or None. widths: of the text encoders; none: there is one.
    start: [N, D], where the tokens start; None: at the word. output: as the word, what the text encoders make of it,
    before their final norms; None: numbers about 1. kept: a file's mapper, to go on from; None: learning begins anew.
    """

    word: Tensor
    images: Tensor | None = None
    widths: tuple[int, ...] = ()
    start: Tensor | None = None
    output: Tensor | None = None
    kept: StageMapper | None = None


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What the artist chooses for either method, beside the photos.

    te_weight: lambda_TE. attention_weight: the face-wise attention loss's lambda; attention_tokens: whose maps it
    compares; reference: the word it compares with, the supercategory if empty; attention_reduction: one of REDUCTIONS.
    resolution: pixels a side, about. caption: what the photo shows beside the subject: what the prompt says already is
    not learned. context_weight: of the loss that keeps other words what they are. weights: one of WEIGHTS; RELATIVE
    ones say how many times as hard as the photo a loss may pull at the tokens at most. start: where tokens do, one of
    STARTS: names are for people only. tokens: how many; most_tokens: and at most.
    """

    most_tokens: ClassVar[int] = 1
    supercategory: str
    te_weight: float
    attention_weight: float
    prompts: Sequence[str]
    learning: TrainingSettings
    resolution: int = 512
    mirror: bool = False
    attention_tokens: str = ALL
    reference: str = ""
    attention_reduction: str = MEAN
    caption: str = ""
    start: str = WORD
    tokens: int = 1
    context_weight: float = 0.0
    weights: str = ABSOLUTE

    def representation(self, beginning: Beginning) -> Learnable:
        """What is learned, as it starts: the same with every seed, so that chance decides less."""
        raise NotImplementedError

    @property
    def starts_at_names(self) -> bool:
        return self.start == NAMES and self.supercategory.lower() in FACE_WORDS

    def objective(self, word: Callable[[str, str], Tensor]) -> Objective:
        """The loss, and the prompts it is learned with. word: gives the input embeddings of a word, [D] or [S, D], by
        the word and what it is called."""
        terms: dict[str, LossTerm] = {NOISE: masked_diffusion_loss}
        weights = {"context": self.context_weight, "equilibrium": self.te_weight, "attention": self.attention_weight}
        weights = {name: weight for name, weight in weights.items() if weight}
        reference = context = None
        if self.context_weight:
            terms["context"] = ContextRegularization(self.context_weight)
            context = ReferenceWord(word(self.supercategory, "supercategory"))
        if self.te_weight:
            terms["equilibrium"] = TandemEquilibrium(self.te_weight)
        if self.attention_weight:
            terms["attention"] = FaceWiseAttention(
                self.attention_weight, self.attention_tokens, self.attention_reduction
            )
            reference = ReferenceWord(word(self.reference or self.supercategory, "reference word"))
        return Objective(
            terms,
            captioned(self.prompts, self.caption),
            RICH_PROMPTS if self.te_weight or context else (),
            reference,
            context,
            weights if self.weights == RELATIVE else {},
        )

    def settings(self) -> dict[str, object]:
        """What Persona Info shows."""
        settings: dict[str, object] = {
            "steps": self.learning.steps,
            "learning rate": self.learning.learning_rate,
            "learning rate falls": self.learning.decay or self.learning.measured,
            "warm-up steps": self.learning.warmup,
            "batch size": self.learning.batch_size,
            "TE weight": self.te_weight,
            "attention weight": self.attention_weight,
            "resolution": self.resolution,
            "mirror": self.mirror,
            "seed": self.learning.seed,
        }
        if self.weights == RELATIVE:
            settings["weights"] = "relative to the pull of the photo"
        if self.starts_at_names:
            settings["tokens start at"] = "names"
        if self.context_weight:
            settings["context weight"] = self.context_weight
        if self.caption:
            settings["caption"] = self.caption
        if self.attention_weight:
            settings |= {
                "attention of": self.attention_tokens,
                "attention summed up as": self.attention_reduction,
                "reference word": self.reference or self.supercategory,
            }
        return settings


@dataclass(frozen=True, kw_only=True)
class StageMapperRecipe(Recipe):
    """PersonaMagic; the defaults are its published recipe. stages: of which one is dynamic."""

    most_tokens: ClassVar[int] = 4
    supercategory: str = "face"
    te_weight: float = 1e-3
    attention_weight: float = 0.0
    prompts: Sequence[str] = PHOTO_PROMPTS
    learning: TrainingSettings = TrainingSettings()
    tokens: int = 4
    stages: Stages = Stages()

    def representation(self, beginning: Beginning) -> Learnable:
        word, widths = beginning.word, beginning.widths
        output = torch.ones_like(word) if beginning.output is None else beginning.output
        units = learning_units(initializers(word, self.tokens), initializers(output, self.tokens), widths)
        mapper = StageMapper(
            word,
            self.stages,
            self.tokens,
            beginning.images,
            widths=widths,
            unit=units[0],
            start=beginning.start,
            bypass_unit=units[1],
        )
        if beginning.kept is not None:
            mapper.go_on_from(beginning.kept)
        return mapper


@dataclass(frozen=True, kw_only=True)
class KVTokensRecipe(Recipe):
    """Face-wise K/V tokens (SeFi-IDE); the defaults are its published recipe.

    pairs: the number of even stages. augment: whether the photos are variants, see photos.augmented.
    """

    supercategory: str = "person"
    te_weight: float = 0.0
    attention_weight: float = 3e-3
    prompts: Sequence[str] = FACE_PROMPTS
    learning: TrainingSettings = KV_PUBLISHED
    pairs: int = 5
    augment: bool = False

    def representation(self, beginning: Beginning) -> Learnable:
        start = None if beginning.start is None else beginning.start[0]
        return TokenExpander(beginning.word, self.pairs, widths=beginning.widths, start=start)

    def settings(self) -> dict[str, object]:
        return super().settings() | {"variants": self.augment}
