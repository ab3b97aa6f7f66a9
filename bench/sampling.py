"""What a persona costs while sampling: the same run with and without one, by turns, on SD1.5's own architecture.

    make bench-sampling [ARGS="--latent 32 --rounds 3"]

The checkpoint is of random weights: time and memory do not depend on them. Prints the ratio of the two times in each
round, the share of time spent in the pack's own code, and the difference in peak memory. Linux only.
"""

import argparse
import tempfile
from pathlib import Path
from statistics import median

from tools import host_modules  # noqa: F401, isort: skip  (before torch)

import torch

from bench.sampling_runs import Own, encode, load, random_persona, sample
from bench.stopwatch import MEGABYTE
from persona_core.host.apply import sampling
from persona_core.host.apply.encoding import apply_to_clip
from persona_core.table import AppliedPersona


def prompts(clip) -> dict[str, tuple]:
    """Positive and negative conditioning without and with a persona."""
    applied = apply_to_clip(clip, AppliedPersona(random_persona(clip)), "<ann>")
    negative = encode(clip, "lowres")
    return {"plain": (encode(clip, "a photo of a face"), negative), "persona": (encode(applied, "a <ann>"), negative)}


def compare(options: argparse.Namespace, folder: Path) -> None:
    model, clip = load(folder)
    runs = prompts(clip)
    table = runs["persona"][0][0][1][sampling.TABLE]
    size = sum(side.numel() * side.element_size() for sides in (table.keys, table.values) for side in sides)
    for kind in runs:  # loads the weights, and lets memory settle
        sample(model, *runs[kind], options.latent, options.steps)
    own, ratios, shares, peaks = Own(), [], [], []
    for number in range(options.rounds):
        order = ("plain", "persona") if number % 2 else ("persona", "plain")
        own.seconds = 0.0
        done = {kind: sample(model, *runs[kind], options.latent, options.steps) for kind in order}
        (plain, without), (seconds, memory) = done["plain"], done["persona"]
        ratios.append(seconds / plain)
        shares.append(own.seconds / seconds)
        peaks.append((memory - without) / MEGABYTE)
        print(
            f"round {number + 1}: plain {plain:.1f} s, with a persona {seconds:.1f} s, ratio {ratios[-1]:.4f}, "
            f"in the pack's own code {shares[-1]:.2%}, peak memory {peaks[-1]:+.1f} MB",
            flush=True,
        )
    print(
        f"median ratio {median(ratios):.4f}, median share of the pack's own code {median(shares):.2%}, median peak "
        f"memory {median(peaks):+.1f} MB beside the table's {size / MEGABYTE:.1f} MB, which is there before"
    )


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
