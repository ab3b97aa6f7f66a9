"""Measure two personas in one picture: likeness of each at its place, and how often they swap, merge or one is missing.

    make bench-pairs [ARGS="--pairs 4"]

By prompt alone, by regions (ComfyUI's Conditioning Set Mask), and by both; beside them what the painter does with two
whom it knows by name. Writes docs/pairs.md.
"""

import argparse
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import mean

from tools import host_modules  # noqa: F401, isort: skip  (before comfy)

import node_helpers
import torch
from torch import Tensor

from bench.pages import made, markdown, with_error
from bench.quality import GUIDANCE, PACK, STEPS, Bench, bench_of, examiner, in_processes, learned, models, photo_of
from bench.rivals import USUAL
from miniworld.measuring.asking import PAIR_PROMPTS, said
from miniworld.measuring.subjects import Subject, named_subject, names, subject
from miniworld.painting import sample
from miniworld.sheet import sheet
from persona_core.files import write_whole
from persona_core.host.apply.encoding import apply_to_clip
from persona_core.host.learn.denoiser import cpu_has_bf16
from persona_core.table import AppliedPersona

PAGE = PACK / "docs/pairs.md"
LEARNED, NAMED = "full", "named"  # of quality.py's rows, and two whom the painter knows
PLACEHOLDERS = "<ann>", "<bob>"
SIZE, SEEDS = 128, 4
WAYS = {"prompt": "by the prompt alone", "regions": "by regions alone", "both": "by both", "masks": "by masks of Apply"}
SOFT = 16  # pixels between one half and the other
KINDS = {LEARNED: "two personas", NAMED: "two names"}

INTRODUCTION = """# Two in one picture, measured in a small world

Written by `make bench-pairs` ({made}). {pairs} pairs of people whom nothing has seen, each learned from one drawing as
in the row of PersonaMagic in [quality.md](quality.md), and as many whom the model knows by name; {prompts} prompts,
{seeds} seeds each. Likeness: 0 = a stranger, 1 = the same person drawn again, each at the place where the prompt puts
them; a head that is not there counts 0. Swapped: each is liker to the head at the other's place. Merged: both heads are
of the same one of the two, or alike each other. Missing: fewer than two heads. Means over pairs ± standard error.

By regions alone, each half is asked for one of the two in the same place (Conditioning Set Mask); by both, the whole
picture is also asked for what the prompt says; by masks of Apply, which names have none of, each persona's tokens draw
attention in its half only."""


@dataclass(frozen=True)
class PairResult:
    """One pair's figures in one way: means over prompts and seeds."""

    row: str
    pair: int
    likeness: float
    both: float  # the share of pictures with both at their place and above half a likeness
    swapped: float
    merged: float
    missing: float


def halves(clip, texts: tuple[str, str]) -> list:
    """A conditioning for the left half and one for the right."""
    found = []
    for side, text in enumerate(texts):
        mask = torch.zeros(1, SIZE, SIZE)
        mask[..., side * SIZE // 2 : (side + 1) * SIZE // 2] = 1
        positive = clip.encode_from_tokens_scheduled(clip.tokenize(text))
        found += node_helpers.conditioning_set_values(
            positive, {"mask": mask, "set_area_to_bounds": False, "mask_strength": 1.0}
        )
    return found


def half(side: str) -> Tensor:
    """[SIZE, SIZE], 1 on one side, with a soft edge."""
    across = torch.linspace(-SIZE / 2, SIZE / 2, SIZE).expand(SIZE, -1)
    return ((across if side == "right" else -across) / SOFT + 0.5).clamp(0, 1)


def asked(clip, way: str, prompt: str, sides: tuple[str, str], words: tuple[str, str]) -> list:
    """The positive conditioning."""
    whole = clip.encode_from_tokens_scheduled(clip.tokenize(said(prompt, *words)))
    if way in ("prompt", "masks"):
        return whole
    left, right = words if sides[0] == "left" else reversed(words)
    _, _, place = prompt.rpartition(" in ") if " in " in prompt else prompt.rpartition(" at ")
    behind = f" {'in' if ' in ' in prompt else 'at'} {place}" if place != prompt else ""
    parts = halves(clip, tuple(said(f"a photo of a {{}}{behind}", word) for word in (left, right)))
    return parts if way == "regions" else [*whole, *parts]


@torch.inference_mode()
def paint(knowing: Callable, way: str, words: tuple[str, str], seed: int) -> dict[tuple[str, str], Tensor]:
    """By the sides of the two: pictures [B, 3, SIZE, SIZE]. knowing: gives the CLIP for the masks of the two."""
    painter, _, decoder = models()
    found: dict[tuple[str, str], list[Tensor]] = {}
    with torch.autocast("cpu", torch.bfloat16, enabled=cpu_has_bf16()):
        for prompt, sides in PAIR_PROMPTS.items():
            clip = knowing(*(half(side) if way == "masks" else None for side in sides))
            positive = asked(clip, way, prompt, sides, words)
            found.setdefault(sides, []).append(sample(painter, clip, decoder, positive, SEEDS, seed, STEPS, GUIDANCE))
    return {sides: torch.cat(pictures) for sides, pictures in found.items()}


def two(bench: Bench, kind: str, number: int) -> tuple[Callable, tuple[str, str], tuple[Subject, Subject]]:
    """What gives a CLIP that knows the two, for a mask of each or None; the words for them in it; who they are."""
    plain, numbers = models()[1], (2 * number, 2 * number + 1)
    if kind == NAMED:
        called = tuple(names()[one] for one in numbers)
        return lambda *masks: plain, called, tuple(map(named_subject, called))
    people = tuple(subject(one, bench.split) for one in numbers)
    recipe = bench.rivals[LEARNED].recipe
    after = (USUAL // recipe.learning.batch_size,)
    personas = [learned_one for person in people for _, _, learned_one in learned(recipe, [photo_of(person)], after)]

    def knowing(*masks: Tensor | None):
        clip = plain
        for persona, placeholder, mask in zip(personas, PLACEHOLDERS, masks):
            clip = apply_to_clip(clip, AppliedPersona(replace(persona, name=placeholder), mask=mask), placeholder)
        return clip

    return knowing, PLACEHOLDERS, people


def ways_of(kind: str) -> list[str]:
    """A name has no Apply whose mask there could be."""
    return [way for way in WAYS if kind == LEARNED or way != "masks"]


def work(bench: Bench, kind: str, number: int) -> str:
    """One pair in every way, in a process of its own."""
    torch.set_num_threads(1)
    knowing, words, people = two(bench, kind, number)
    for way in ways_of(kind):
        likeness, both, flags = [], [], {"swapped": [], "merged": [], "missing": []}
        pictures = paint(knowing, way, words, SEEDS * number)
        for sides, some in pictures.items():
            left, right = people if sides[0] == "left" else people[::-1]
            found = examiner().score_pair(some, left, right)
            likeness += found.likeness.mean(1).tolist()
            both += (found.likeness > 0.5).all(1).float().tolist()
            for name, values in flags.items():
                values += getattr(found, name).float().tolist()
        row = f"{kind}-{way}"
        result = PairResult(row, number, mean(likeness), mean(both), **{name: mean(one) for name, one in flags.items()})
        file = bench.file(row, number)
        photos = torch.stack([person.photo for person in people])
        sheet(
            torch.cat([photos, *(some[::SEEDS] for some in pictures.values())]),
            2 + len(PAIR_PROMPTS),
            file.with_suffix(".png"),
            1,
        )
        write_whole(file, json.dumps(asdict(result)).encode())
    return f"{kind} {number}"


def table(results: Mapping[str, list[PairResult]]) -> str:
    head = ("", "likeness", "both at their place", "swapped", "merged", "missing", "pairs")
    lines = [head, ("---",) * len(head)]
    for kind, who in KINDS.items():
        for way in ways_of(kind):
            found = results[f"{kind}-{way}"]
            cells = (
                with_error([getattr(one, key) for one in found])
                for key in ("likeness", "both", "swapped", "merged", "missing")
            )
            lines.append((f"{who}, {WAYS[way]}", *cells, str(len(found))))
    return markdown(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=12)
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("--page", type=Path, default=PAGE)
    args = parser.parse_args()
    bench = bench_of("pairs")
    rows = [f"{kind}-{way}" for kind in KINDS for way in ways_of(kind)]
    jobs = [
        (kind, number)
        for number in range(args.pairs)
        for kind in KINDS
        if not all(bench.file(f"{kind}-{way}", number).exists() for way in ways_of(kind))
    ]
    in_processes(args.processes, work, bench, jobs)
    results = {
        row: [PairResult(**json.loads(bench.file(row, number).read_text())) for number in range(args.pairs)]
        for row in rows
    }
    introduction = INTRODUCTION.format(made=made(), pairs=args.pairs, prompts=len(PAIR_PROMPTS), seeds=SEEDS)
    text = f"{introduction}\n\n{table(results)}\n"
    print(text)
    args.page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
