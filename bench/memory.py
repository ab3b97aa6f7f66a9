"""What learning with Z-Image needs of a card's memory, by the pack's own judgement, and how it would learn there.

    make bench-memory

No card is needed, and none is looked at: the transformer and the text encoder are of their full shapes, with random
weights that all layers share, and what a step keeps is found out on the CPU, as learning finds it out, with the
attention that it has on a GPU. Prints its tables and writes them to docs/memory.md. 8 GB and some minutes.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

from tools import host_modules  # noqa: F401, isort: skip  (before comfy)

import comfy.model_management
import torch
from comfy.ldm.modules.attention import attention_pytorch
from comfy.model_patcher import ModelPatcher
from comfy.sd import CLIP
from torch import nn

from bench.pages import made, markdown
from bench.stopwatch import GIGABYTE
from persona_core.host.clip import text_towers
from persona_core.host.learn.autograd import differentiable, reads_out
from persona_core.host.learn.frozen import frozen
from persona_core.host.learn.memory import PROBED, Fit, fit, layers_of, needed, scaled, small_steps, smallest
from persona_core.host.learn.offload import bytes_of
from persona_core.host.learn.text import DifferentiableText
from persona_core.host.model import compute_dtype, default_stages
from persona_core.recipes import Beginning, StageMapperRecipe
from persona_core.task import References, TrainingTask
from tools import full_z_image

PAGE = Path(__file__).resolve().parents[1] / "docs/memory.md"
COMPUTED_IN = torch.bfloat16
WEIGHTS = {"bf16": COMPUTED_IN, "fp8": torch.float8_e4m3fn}
SIDES = 512, 1024  # pixels
CARDS = 12, 16, 24
ROWS = 2, 4  # of the presets auto and quick, and of balanced
PIXELS, CHANNELS = 8, 16  # of a latent
RESERVE = comfy.model_management.minimum_inference_memory()

INTRODUCTION = """# How much memory learning with Z-Image takes

Written by `make bench-memory` ({made}). **All of it is estimated: no card was at hand.** What a step keeps for its
backward pass was found out on a CPU, in the way in which learning itself finds it out before it begins, with the full
shapes of Z-Image's transformer and its text encoder and random weights. On a card, learning asks what is free there,
and if that was misjudged, it goes on with less.

GB are of 2³⁰ bytes. The host leaves {reserve:.2f} GB of a card free; whatever else is on it is not counted. It computes
in bf16, also with weights in fp8, which are read out for each use: autograd keeps what was read out, unless a layer is
computed twice. That is counted for each row, though rows share it, so with fp8 the estimate is above what is needed.
"""
WEIGHTS_TOLD = "*Largest layer*: of the transformer, which alone is on the card where all its layers take turns."
STEPS_TOLD = """Beside the weights. Where those of the text encoder are off the card, or in fp8, its layers are computed
twice."""
WAYS_TOLD = """What learning decides on a card that is otherwise empty. *Rows*: pictures of a step, 2 with the presets
*auto* and *quick*, 4 with *balanced*. *Off the card*: the weights of a layer are there only while it computes. So those
of the text encoder go there twice in a step, and those of the transformer's layers twice for each part of its rows."""


@dataclass(frozen=True)
class Needs:
    """Bytes. model, text: of the weights; sizes: of each layer's of the model. kept: by one row, with the text encoder
    on the device (False) and off it (True)."""

    model: int
    text: int
    sizes: dict[nn.Module, int]
    kept: dict[bool, dict[nn.Module | None, float]]


@dataclass(frozen=True)
class Way:
    """How learning goes on a card. off: whether the text encoder's weights stay off it."""

    off: bool
    fitted: Fit


def size(module: nn.Module) -> int:
    """Bytes of its weights, were none shared."""
    return sum(bytes_of(part) for part in module.modules() if not list(part.children()))


def needs(dtype: torch.dtype) -> dict[int, Needs]:
    """By the pixels of a side."""
    cast = None if dtype == COMPUTED_IN else COMPUTED_IN
    model, clip, counts = full_z_image.model(dtype, cast), full_z_image.clip(dtype), {}
    patchers, layers = (model, clip.patcher), layers_of(model.model.diffusion_model)
    # Where weights are read out for each use, text layers are computed twice wherever they lie.
    for off in (False,) if cast else (False, True):
        with differentiable(*patchers, dtype=compute_dtype(model), off=[clip.patcher] if off else ()):
            weights = [weight for patcher in patchers for weight in patcher.model.parameters()]
            counts[off] = small_steps(task(model, clip, off), weights)
    counts.setdefault(True, counts[False])
    sizes = size(model.model), size(clip.patcher.model), {layer: bytes_of(layer) for layer in layers}
    return {
        side: Needs(*sizes, {off: scaled(those, (side // PIXELS) ** 2, 1) for off, those in counts.items()})
        for side in SIDES
    }


def task(model: ModelPatcher, clip: CLIP, off: bool) -> TrainingTask:
    """Learning as `train_persona` sets it up, of a random picture."""
    recipe, towers = StageMapperRecipe(stages=default_stages(model)), text_towers(clip)
    denoiser = frozen(model)
    denoiser.attention = attention_pytorch
    text = DifferentiableText(
        clip, recipe.tokens, recipe.supercategory, denoiser.dtype, off or reads_out(clip.patcher.model)
    )
    for encoder in text.encoders:
        encoder.layers.compute = attention_pytorch
    word = towers.word(recipe.supercategory)
    representation = recipe.representation(Beginning(word, widths=towers.widths, output=text.output_of(word)))
    latents = torch.randn(1, CHANNELS, max(PROBED), max(PROBED), generator=torch.Generator().manual_seed(0))
    references = References(latents, torch.ones_like(latents[:, :1]))
    return TrainingTask(representation, references, text, denoiser, recipe.objective(towers.word), recipe.learning)


def way(found: Needs, card: float, rows: int) -> Way | None:
    """As `ways_to_load` and `fit_into_memory` decide; None where it does not fit."""
    room = card - RESERVE - found.model
    if found.text <= room:
        fitted = fit(found.kept[False], rows, room - found.text)
        if needed(found.kept[False], fitted) <= room - found.text:
            return Way(False, fitted)
    room += sum(found.sizes.values())  # those of the rest are there, whatever is decided
    fitted = fit(found.kept[True], rows, room, found.sizes)
    return Way(True, fitted) if needed(found.kept[True], fitted, found.sizes) <= room else None


def told(found: Way | None, rows: int, layers: int) -> list[str]:
    if found is None:
        return ["does not fit", "", "", ""]
    fitted = found.fitted
    return [
        f"{fitted.micro_batch} of {rows}",
        f"{len(fitted.checkpointed)} of {layers}",
        "off the card" if found.off else "on it",
        f"{len(fitted.lent)} of {layers}",
    ]


def gigabytes(size: float) -> str:
    return f"{size / GIGABYTE:.1f}"


def tables(found: dict[tuple[str, int], Needs]) -> str:
    weights, steps, ways = [], [], []
    for (name, side), one in found.items():
        layers = frozenset(one.sizes)
        if side == SIDES[0]:
            weights.append(
                (name, *map(gigabytes, (one.model, one.text, one.model + one.text, max(one.sizes.values()))))
            )
        for off, kept in one.kept.items():
            each = [needed(kept, fitted) for fitted in (Fit(1, frozenset()), smallest(layers))]
            steps.append((name, f"{side}", "off the card" if off else "on it", *map(gigabytes, each)))
        for rows in ROWS:
            for card in CARDS:
                ways.append(
                    (
                        name,
                        f"{side}",
                        f"{rows}",
                        f"{card} GB",
                        *told(way(one, card * GIGABYTE, rows), rows, len(layers)),
                    )
                )
    heads = "weights in", "pixels"
    parts = [
        (
            "The weights, in GB", WEIGHTS_TOLD, weights,
            ("weights in", "transformer", "text encoder", "both", "largest layer"),
        ),
        (
            "What one row of a step keeps, in GB", STEPS_TOLD, steps,
            (*heads, "text encoder", "nothing computed twice", "all layers computed twice"),
        ),
        (
            "How learning goes", WAYS_TOLD, ways,
            (*heads, "rows", "card", "rows at once", "layers computed twice", "text encoder", "layers off the card"),
        ),
    ]  # fmt: skip
    return "\n\n".join(
        f"## {title}\n\n{text}\n\n{markdown([heads, ['---'] * len(heads), *lines])}"
        for title, text, lines, heads in parts
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--page", type=Path, default=PAGE)
    args, found = parser.parse_args(), {}
    with torch.inference_mode():  # as the host runs its nodes
        for name, dtype in WEIGHTS.items():
            print(f"weights in {name}", flush=True)
            found |= {(name, side): one for side, one in needs(dtype).items()}
    text = f"{INTRODUCTION.format(made=made(), reserve=RESERVE / GIGABYTE)}\n{tables(found)}\n"
    args.page.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
