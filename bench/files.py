"""Measure what a small file of a persona of Learn Persona saves, and what it costs.

    make bench-files [ARGS="--people 4"]

People of the made-up world are learned, and what was learned is turned into the width of SD1.5's text encoder, which
has its real shapes and random weights. Takes some minutes on 2 cores and writes docs/files.md.
"""

import argparse
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from tools import host_modules  # noqa: F401, isort: skip  (before comfy)

import comfy.sd
import comfy.supported_models_base
import torch
from comfy.sd1_clip import SD1ClipModel, SD1Tokenizer
from torch import Tensor

from bench.choices import FULL
from bench.pages import made, markdown
from bench.quality import PACK, learned, models, photo_of
from bench.stopwatch import by_turns, machine, ratios, seconds, spread
from miniworld.measuring.subjects import subject
from persona_core.host.apply.encoding import apply_to_clip
from persona_core.host.apply.sampling import TABLE
from persona_core.host.clip import TextTowers, text_towers
from persona_core.host.learn.text import DifferentiableText
from persona_core.mapper import StageMapper
from persona_core.persona import Persona
from persona_core.recipes import BALANCED, PRESETS, Recipe
from persona_core.stages import LAST_TIMESTEP, Stages
from persona_core.table import AppliedPersona, plan

PAGE = PACK / "docs/files.md"
PROMPT, SPLIT = "a photo of <ann>", "release"
WAYS = {
    "*auto*, 4 tokens": FULL,
    "*auto*, one token": replace(FULL, tokens=1),
    "*published*, 4 tokens": replace(FULL, learning=PRESETS["published"]),
    "*balanced*, 4 tokens, stage 0 to 999": replace(FULL, learning=PRESETS[BALANCED], stages=Stages(0, LAST_TIMESTEP)),
}

INTRODUCTION = """# What a small file saves

Written by `make bench-files` ({made}) on {machine}. A stage mapper is read at 21 timesteps and never elsewhere; a small
file keeps what it says there, as sums of a few patterns. {people} people of the made-up world are learned in each way,
and what was learned is turned into the width of SD1.5's text encoder: this has the real one's shapes and random
weights."""
SIZES = """## Sizes

*Patterns*: of the tokens and of the bypass. *Contexts*: how far those of K and V are from the mapper's at most, at any
point of the prompt's table, in how far the persona's are from the plain word's. Bytes of whole files, losses
too."""
TIMES = """## Times

Seconds, the least and the greatest of {repeats} rounds in brackets; ratios are those of each round. *Apply* is what the
node does to the CLIP; *the mapper's part* of an encoding is to read the vectors at the points of the table."""


def full_clip() -> comfy.sd.CLIP:
    """SD1.5's text encoder with random weights."""
    target = comfy.supported_models_base.ClipTarget(SD1Tokenizer, SD1ClipModel)
    clip = comfy.sd.CLIP(target, model_options={"dtype": torch.float32})
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, weight in clip.cond_stage_model.named_parameters():
            if weight.ndim >= 2:
                scale = 0.014 if "embedding" in name else weight[0].numel() ** -0.5
                weight.copy_(scale * torch.randn(weight.shape, generator=generator))
            else:
                weight.fill_(float(name.endswith("weight")))
    return clip


def turned(persona: Persona, towers: TextTowers, output: Tensor, narrow_output: Tensor) -> Persona:
    """The persona for a wider text encoder: the same function of t, in as many of its directions, as long against the
    word, and its bypass against what the text encoder makes of the word."""
    small, wide = persona.representation, towers.word(persona.supercategory)
    mapper = StageMapper(wide, small.stages, small.tokens).requires_grad_(False)
    state, narrow = small.state_dict(), len(small.word)
    directions = torch.linalg.qr(torch.randn(len(wide), narrow, generator=torch.Generator().manual_seed(0)))[0]
    for name, ratio in (
        ("head", wide.norm() / small.word.norm()),
        ("bypass_head", output.norm() / narrow_output.norm()),
    ):
        for part in (f"{name}.weight", f"{name}.bias"):
            given = state[part].reshape(small.tokens, narrow, -1)
            state[part] = (ratio * directions @ given).reshape(small.tokens * len(wide), *state[part].shape[1:])
    mapper.load_state_dict({**state, "word": wide})
    return replace(persona, representation=mapper, family=towers.family, fingerprint="")


def outputs(clip: comfy.sd.CLIP, recipe: Recipe) -> Tensor:
    """What the text encoder makes of the word, as learning asks."""
    text = DifferentiableText(clip, recipe.tokens, recipe.supercategory)
    return text.output_of(text.towers.word(recipe.supercategory))


def table(clip: comfy.sd.CLIP, persona: Persona):
    applied = apply_to_clip(clip, AppliedPersona(persona), "<ann>")
    return applied.encode_from_tokens_scheduled(applied.tokenize(PROMPT))[0][1][TABLE]


def furthest(clip: comfy.sd.CLIP, persona: Persona, small: Persona) -> float:
    its, ours = (table(clip, one) for one in (persona, small))
    return max(
        ((one - other).norm() / (one - its.base).norm()).item()
        for sides in ((its.keys, ours.keys), (its.values, ours.values))
        for pair in zip(*sides, strict=True)
        for one, other in zip(*pair, strict=True)
    )


def sizes(clip: comfy.sd.CLIP, personas: dict[str, list[Persona]], folder: Path) -> str:
    lines = [("learned by", "with the mapper", "small", "patterns", "contexts"), ("---",) * 5]
    for way, people in personas.items():
        files = [one.small().save(folder / f"small-{number}.safetensors") for number, one in enumerate(people)]
        small = [Persona.load(file) for file in files]
        counts = [(len(one.representation.offsets.patterns), len(one.representation.bypass.patterns)) for one in small]
        errors = [furthest(clip, *pair) for pair in zip(people, small, strict=True)]
        whole, tiny = ([len(one.to_bytes()) for one in some] for some in (people, small))
        told = ", ".join(f"{tokens} + {bypass}" for tokens, bypass in counts)
        lines.append((way, of(whole), of(tiny), told, f"{min(errors):.1e} to {max(errors):.1e}"))
    return markdown(lines)


def of(numbers: list[int]) -> str:
    return f"{min(numbers):,} to {max(numbers):,}"


def times(clip: comfy.sd.CLIP, persona: Persona, folder: Path, repeats: int) -> str:
    forms = {"mapper": persona, "small": persona.small()}
    files = {form: one.save(folder / f"{form}.safetensors") for form, one in forms.items()}
    forms = {form: Persona.load(file) for form, file in files.items()}
    uses = {form: AppliedPersona(one) for form, one in forms.items()}

    def read(use: AppliedPersona) -> None:
        for segment in plan([use]):
            for t in segment.grid:
                use.vectors(t)

    kinds: dict[str, Callable[[str], object]] = {
        "Load Persona": lambda form: Persona.load(files[form]),
        "its checksum, as when it is saved": lambda form: forms[form].learned,
        "Apply": lambda form: apply_to_clip(clip, uses[form], "<ann>"),
        "the mapper's part": lambda form: read(uses[form]),
        "Apply and one prompt encoded": lambda form: table(clip, forms[form]),
        "all: Load, Apply and one prompt encoded": lambda form: table(clip, Persona.load(files[form])),
    }
    runs = {
        (kind, form): lambda run=run, form=form: seconds(lambda: run(form))
        for kind, run in kinds.items()
        for form in forms
    }
    found = by_turns(runs, repeats)
    lines = [("", "with the mapper", "small", "small against mapper"), ("---",) * 4]
    for kind in kinds:
        whole, small = (found[kind, form] for form in forms)
        lines.append((kind, spread(whole), spread(small), spread(ratios(small, whole))))
    return markdown(lines)


def learn(recipe: Recipe, number: int) -> Persona:
    ((_, _, persona),) = learned(recipe, [photo_of(subject(number, SPLIT))], (recipe.learning.steps,))
    return persona


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--page", type=Path, default=PAGE)
    args = parser.parse_args()
    narrow, clip = models()[1], full_clip()
    with torch.inference_mode(False), torch.no_grad():
        ends = [outputs(one, FULL) for one in (clip, narrow)]
    personas: dict[str, list[Persona]] = {}
    for way, recipe in WAYS.items():
        print(way, flush=True)
        personas[way] = [turned(learn(recipe, number), text_towers(clip), *ends) for number in range(args.people)]
    with tempfile.TemporaryDirectory() as folder:
        small = sizes(clip, personas, Path(folder))
        fast = times(clip, next(iter(personas.values()))[0], Path(folder), args.repeats)
    introduction = INTRODUCTION.format(made=made(), machine=machine(), people=args.people)
    text = f"{introduction}\n\n{SIZES}\n\n{small}\n\n{TIMES.format(repeats=args.repeats)}\n\n{fast}\n"
    print(text)
    args.page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
