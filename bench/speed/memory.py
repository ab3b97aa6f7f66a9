"""Peak memory of learning, each case in a process of its own, and what would be chosen on a small card.

Run as a script it is such a process, and prints what it found as JSON.
"""

import argparse
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from . import host  # isort: skip  (before the host's modules)
import comfy.model_management
from comfy.ldm.modules.attention import attention_pytorch

from bench.stopwatch import GIGABYTE, KEEPING_MALLOC, forget_peak, memory_now, peak_memory
from persona_core.host.learn.denoiser import FrozenDenoiser
from persona_core.host.learn.in_memory import Lesson, train_in_memory
from persona_core.host.learn.memory import (
    REST,
    Fit,
    fit,
    gradient_checkpointing,
    layers_of,
    needed,
    room_for,
    saved_by_row,
    smallest,
)
from persona_core.training import Learning, train

from .learning import KINDS, Learner
from .page import Table

FITS, LEAST = WAYS = "as it fits", "the least"
BATCHES = 1, 4
MOST = 0.7  # of the machine's memory
CARD = 6 * GIGABYTE
PACK = Path(__file__).resolve().parents[2]


def case(file: Path, latent: int, batch: int, way: str) -> dict:
    """One step of learning: its peak and the estimate of it, in bytes; and what a card of 6 GB would choose."""
    model, clip, _ = host.load(file, host.HALF)
    learner, patchers = Learner(model, clip, KINDS["Learn Persona"], latent, batch, steps=1), (model, clip.patcher)
    with learner.ready():
        unet = model.model.diffusion_model
        weights = [weight for patcher in patchers for weight in patcher.model.parameters()]
        kept = saved_by_row(learner.task, weights)
        room = room_for(batch * sum(kept.values()), patchers, model.load_device)
        chosen = fit(kept, batch, room) if way == FITS else smallest(layers_of(unet))
        size = 2 * sum(weight.numel() for weight in weights)  # in 16 bit
        denoiser = FrozenDenoiser(model)
        denoiser.attention = attention_pytorch  # as on a GPU, where it keeps no probabilities
        on_card = saved_by_row(replace(learner.task, denoiser=denoiser), weights)
        card = fit(on_card, 1, CARD - size - comfy.model_management.minimum_inference_memory())
        found = {
            "rows": chosen.micro_batch, "twice": len(chosen.checkpointed), "layers": len(layers_of(unet)),
            "estimate": needed(kept, chosen), "weights": size,
            "everything": needed(on_card, Fit(1, frozenset())),
            "all twice": needed(on_card, smallest(key for key in on_card if key is not REST)),
            "twice on the card": len(card.checkpointed),
        }  # fmt: skip
        if found["estimate"] > MOST * host.memory():
            return found
        forget_peak()
        before = memory_now()
        if way == FITS:
            train_in_memory([Lesson(lambda: Learning(learner.task))], patchers)
        else:
            with gradient_checkpointing(chosen.checkpointed):
                train(learner.task, scale=learner.scale(), micro_batch=chosen.micro_batch)
        return {**found, "peak": peak_memory() - before}


def measure(file: Path, latent: int) -> list[Table]:
    """The tables of part 3."""
    host.unload()
    rows, found = [], {}
    # With the malloc that learning really has: one that keeps what is freed needs more.
    environment = {name: value for name, value in os.environ.items() if name not in KEEPING_MALLOC}
    for batch in BATCHES:
        for way in WAYS:
            print(f"  memory: batch {batch}, {way}", flush=True)
            command = [sys.executable, "-m", __spec__.name, file, "--latent", latent, "--batch", batch, "--way", way]
            done = subprocess.run(
                [str(part) for part in command], stdout=subprocess.PIPE, text=True, env=environment, cwd=PACK
            )
            if done.returncode:  # the kernel ends what takes too much
                rows.append([str(batch), way, "", "", f"ended with {done.returncode}", ""])
                continue
            found = json.loads(done.stdout.splitlines()[-1])
            peak = f"{found['peak'] / GIGABYTE:.2f}" if "peak" in found else f"skipped: above {MOST:.0%} of the memory"
            twice = f"{found['twice']} of {found['layers']}"
            estimate = f"{found['estimate'] / GIGABYTE:.2f}"
            rows.append([str(batch), way, str(found["rows"]), twice, peak, estimate])
    side = latent * 8
    what = "what torch had allocated on the GPU" if host.GPU else "the process's memory"
    tables = [
        Table(
            f"Peak memory of learning at {side}x{side} pixels",
            f"One step of Learn Persona in {host.HALF}, each once: the peak of {what}, less what was there before with "
            "the models loaded. *As it fits* is as Learn Persona runs on this machine, *the least* computes all layers "
            "twice, one row at once. *Estimate*: of what a step keeps for its backward pass, which decides.",
            ("batch", "", "rows at once", "layers computed twice", "peak, GB", "estimate, GB"),
            rows,
        )
    ]
    return tables + ([small_card(found, side)] if found else [])


def small_card(found: dict, side: int) -> Table:
    """Whether a card of 6 GB would do."""
    weights, everything, twice = (found[name] / GIGABYTE for name in ("weights", "everything", "all twice"))
    return Table(
        f"On a card with {CARD / GIGABYTE:.0f} GB, at {side}x{side} pixels, batch 1",
        "Estimated, in GB: the weights of UNet and text encoder in 16 bit, and what a step keeps beside them. The host "
        f"leaves {comfy.model_management.minimum_inference_memory() / GIGABYTE:.2f} GB free. *Chosen*: by "
        "`memory.fit`.",
        ("weights", "with everything kept", "with all computed twice", "chosen: layers computed twice"),
        [[
            f"{weights:.2f}", f"{weights + everything:.2f}", f"{weights + twice:.2f}",
            f"{found['twice on the card']} of {found['layers']}",
        ]],
    )  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--latent", type=int, required=True, help="a side")
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--way", choices=WAYS, required=True)
    options = parser.parse_args()
    print(json.dumps(case(options.file, options.latent, options.batch, options.way)))
