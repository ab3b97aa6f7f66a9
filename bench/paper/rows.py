"""The rows of the papers' tables: how a person is learned, and how the persona is used."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch

from bench.rivals import ALWAYS, PUBLISHED_RATE, TextualInversion
from persona_core.losses import PLACEHOLDER, PROMPT, SUM
from persona_core.photos import Photo, augmented
from persona_core.recipes import (
    AUTO,
    KV_PRESETS,
    PRESETS,
    Beginning,
    KVTokensRecipe,
    Recipe,
    StageMapperRecipe,
    kv_prompts,
    settings_of,
)
from persona_core.representation import Learnable
from persona_core.task import TrainingSettings

PLAIN, FULL, AS_MANY = "plain", "auto", "textual_inversion_as_many"
INVERSION_STEPS = 5000  # as its paper has them (arXiv 2208.01618)
SMALL = PLAIN, AS_MANY, FULL, "quick", "kv_5"
BESIDE = {"ip_adapter": "IP-Adapter", "photomaker": "PhotoMaker"}
PRESERVED: Mapping[str, float] = {"context_preservation": 0.5}


@dataclass(frozen=True, kw_only=True)
class WithoutBypass(StageMapperRecipe):
    """PersonaMagic with one context for K and V."""

    def representation(self, beginning: Beginning) -> Learnable:
        mapper = super().representation(beginning)
        for part in (mapper.bypass, mapper.bypass_head):
            part.requires_grad_(False)  # what it adds is 0 at the start, and stays 0
        return mapper


@dataclass(frozen=True)
class Row:
    """recipe: None where nothing is learned. masked: whether the loss looks at the face only. learned_as: the row whose
    learning it shares. as_many_as: the row after as many of whose passes through the UNet it is tried out. applied:
    settings of AppliedPersona. beside: what else paints, one of BESIDE."""

    title: str
    recipe: Recipe | None = None
    masked: bool = True
    learned_as: str = ""
    as_many_as: str = ""
    applied: Mapping[str, float] = field(default_factory=dict)
    beside: str = ""

    def photos(self, photo: Photo) -> Sequence[Photo]:
        """What is learned from."""
        photo = photo if self.masked else Photo(photo.image, torch.ones_like(photo.mask))
        if isinstance(self.recipe, KVTokensRecipe) and self.recipe.augment:
            return augmented([photo], self.recipe.learning.seed)
        return [photo]


def rows(supercategory: str, resolution: int, steps: int = 0, beside: Sequence[str] = ()) -> dict[str, Row]:
    """All of them by a short name, in the table's order. steps: of learning; 0: as each row has them. beside: what is
    installed."""

    def usual(preset: str, presets: Mapping[str, TrainingSettings] = PRESETS) -> TrainingSettings:
        return settings_of(preset, 0, steps, presets=presets)

    shared = {"supercategory": supercategory, "resolution": resolution}
    full = StageMapperRecipe(**shared, learning=usual(AUTO))
    rate = replace(TrainingSettings(), learning_rate=PUBLISHED_RATE, steps=steps or INVERSION_STEPS)
    inversion = TextualInversion(**shared, te_weight=0.0, learning=rate)
    kv = KVTokensRecipe(
        **shared,
        learning=usual(AUTO, KV_PRESETS),
        prompts=kv_prompts(supercategory),
        augment=True,
        attention_reduction=SUM,
    )

    def compared(tokens: str) -> KVTokensRecipe:
        return replace(kv, attention_tokens=tokens)

    found = {
        PLAIN: Row("plain word"),
        "textual_inversion": Row(
            f"Textual Inversion, rate {PUBLISHED_RATE:g}, {rate.steps} steps of its own", inversion, masked=False
        ),
        AS_MANY: Row(
            f"Textual Inversion, rate {PUBLISHED_RATE:g}, as many passes as PersonaMagic",
            inversion,
            masked=False,
            learned_as="textual_inversion",
            as_many_as=FULL,
        ),
        FULL: Row("PersonaMagic, *auto* (N = 4)", full),
        "auto_context": Row("PersonaMagic with context preservation 0.5", full, learned_as=FULL, applied=PRESERVED),
        "quick": Row("PersonaMagic, *quick*", replace(full, learning=usual("quick"))),
        "published": Row("PersonaMagic, *published*", replace(full, learning=usual("published"))),
        "n1": Row("PersonaMagic, N = 1", replace(full, tokens=1)),
        "n2": Row("PersonaMagic, N = 2", replace(full, tokens=2)),
        "no_stages": Row("PersonaMagic without stages: 0-999", replace(full, stages=ALWAYS)),
        "no_te": Row("PersonaMagic without Tandem Equilibrium", replace(full, te_weight=0.0)),
        "no_bypass": Row("PersonaMagic without the bypass", WithoutBypass(**shared, learning=full.learning)),
        "no_mask": Row("PersonaMagic without the mask", full, masked=False),
        "kv_5": Row("K/V tokens, *auto*, 5 pairs, attention loss #3 (all tokens), summed as Equation 1", kv),
        "kv_context": Row("K/V tokens with context preservation 0.5", kv, learned_as="kv_5", applied=PRESERVED),
        "kv_1": Row("K/V tokens, 1 pair", replace(kv, pairs=1)),
        "kv_10": Row("K/V tokens, 10 pairs", replace(kv, pairs=10)),
        "kv_off": Row("K/V tokens without the attention loss", replace(kv, attention_weight=0.0)),
        "kv_placeholder": Row("K/V tokens, attention loss #1 (the placeholder)", compared(PLACEHOLDER)),
        "kv_prompt": Row("K/V tokens, attention loss #2 (the prompt's tokens)", compared(PROMPT)),
        "kv_mean": Row("K/V tokens, attention loss #3 as a mean (Algorithm 1)", KVTokensRecipe(
            **shared, learning=kv.learning, prompts=kv.prompts, augment=True
        )),
        "kv_published": Row("K/V tokens, *published*", replace(kv, learning=usual("published", KV_PRESETS))),
    }  # fmt: skip
    for name in beside:
        found[name] = Row(BESIDE[name], beside=name)
        found[f"auto_{name}"] = Row(f"PersonaMagic beside {BESIDE[name]}", full, learned_as=FULL, beside=name)
    return found


def chosen(names: Sequence[str], everything: Mapping[str, Row]) -> dict[str, Row]:
    """The rows of these names, and those that they are measured by, in the table's order."""
    wanted = {*names, *(everything[name].as_many_as for name in names)}
    return {name: row for name, row in everything.items() if name in wanted}
