"""What a persona costs while sampling: the same run without one, with one and with one in a mask, by turns, on SD1.5's
own architecture.

    make bench-sampling [ARGS="--latent 32 --rounds 3"]

The checkpoint is of random weights: time and memory do not depend on them. Prints in each round how the times compare
with the plain one's, the share of time spent in the pack's own code, and the difference in peak memory. Linux only.
"""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from tools import host_modules  # noqa: F401, isort: skip  (before torch)

import torch

from bench.sampling_runs import Own, encode, load, random_persona, sample
from bench.stopwatch import MEGABYTE
from persona_core.host.apply import sampling
from persona_core.host.apply.encoding import apply_to_clip
from persona_core.table import AppliedPersona

PLAIN, PERSONA, MASKED = "plain", "with a persona", "with one in a mask"


def prompts(clip, side: int) -> dict[str, tuple]:
    """Positive and negative conditioning without a persona, with one, and with one that has a mask of `side` pixels."""
    persona, negative = random_persona(clip), encode(clip, "lowres")
    left = torch.ones(side, side)
    left[:, side // 2 :] = 0
    uses = {PERSONA: AppliedPersona(persona), MASKED: AppliedPersona(persona, mask=left)}
    positives = {PLAIN: encode(clip, "a photo of a face")} | {
        kind: encode(apply_to_clip(clip, use, "<ann>"), "a <ann>") for kind, use in uses.items()
    }
    return {kind: (positive, negative) for kind, positive in positives.items()}


def compare(options: argparse.Namespace, folder: Path) -> None:
    model, clip = load(folder)
    runs = prompts(clip, 8 * options.latent)
    table = runs[PERSONA][0][0][1][sampling.TABLE]
    size = sum(side.numel() * side.element_size() for sides in (table.keys, table.values) for side in sides)
    for kind in runs:  # loads the weights, and lets memory settle
        sample(model, *runs[kind], options.latent, options.steps)
    own, found = Own(), {kind: [] for kind in (PERSONA, MASKED)}
    for number in range(options.rounds):
        done = {}
        for kind in list(runs)[:: 1 if number % 2 else -1]:
            own.seconds = 0.0
            done[kind] = *sample(model, *runs[kind], options.latent, options.steps), own.seconds
        plain, without, _ = done[PLAIN]
        print(f"round {number + 1}: {PLAIN} {plain:.1f} s", flush=True)
        for kind, figures in found.items():
            seconds, memory, ours = done[kind]
            figures.append((seconds / plain, ours / seconds, (memory - without) / MEGABYTE))
            print(f"{kind} {seconds:.1f} s, {told(figures[-1])}", flush=True)
    for kind, figures in found.items():
        print(f"median {kind}: {told([median(values) for values in zip(*figures)])}")
    print(f"The table's {size / MEGABYTE:.1f} MB are there before.")


def told(figures: Sequence[float]) -> str:
    ratio, share, peak = figures
    return f"ratio {ratio:.4f}, in the pack's own code {share:.2%}, peak memory {peak:+.1f} MB"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--latent", type=int, default=8, help="a side: 64 is 512 pixels; small ones show the cost more")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        compare(options, Path(folder))


if __name__ == "__main__":
    main()
