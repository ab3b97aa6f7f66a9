"""How long learning and painting take, and how much memory: on SD1.5's own architecture, and beside other trainers.

    make bench-speed [ARGS="--parts learning memory --repeats 6"]

The checkpoint is of random weights: time and memory do not depend on them. Prints its tables and writes them to
docs/speed.md. On a CPU it learns at 256 pixels, on a GPU at 512, and with SDXL at 512 where memory allows.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from bench import stopwatch
from bench.stopwatch import GIGABYTE

PARTS = "learning", "sdxl", "peers", "memory", "sampling", "nodes"
SDXL_NEEDS = 13 * GIGABYTE  # its weights in 16 bit are 7 GB, and those of text are there twice
PAGE = Path(__file__).resolve().parents[2] / "docs/speed.md"


def measured(part: str, folder: Path, options: argparse.Namespace) -> list:
    """The tables of a part."""
    # Here, because the host's modules read the environment that `main` may begin anew with.
    from bench.speed import against, host, learning, memory, use
    from tools import random_checkpoint

    latent, repeats = options.size // 8, options.repeats
    if part == "sdxl":
        if options.architecture == "small" or host.free_memory() < SDXL_NEEDS:
            print("left out: a trial, or too little memory")
            return []
        file = random_checkpoint.build(folder / "sdxl.ckpt", "sdxl_full")
        # At the larger size: nobody learns with SDXL at 256 pixels.
        how = (host.TRIED, learning.BATCHES) if host.GPU else ((host.HALF,), (1,))
        return learning.measure(file, "sdxl_full", options.memory_size // 8, repeats, *how)
    if not (file := folder / "random.ckpt").exists():
        random_checkpoint.build(file, options.architecture)
    if part == "learning":
        return learning.measure(file, options.architecture, latent, repeats)
    if part == "peers":
        return against.measure(file, options.architecture, latent, repeats)
    if part == "memory":
        return memory.measure(file, options.memory_size // 8)
    if part == "sampling":
        return use.sampling(file, latent, repeats)
    return use.nodes(file, latent, repeats)


def run(options: argparse.Namespace, folder: Path) -> Iterator[list]:
    """All tables there are, after each part."""
    found = {}
    # A process keeps what it once had: memory first, while that is little, and then SDXL, which needs most.
    order = "memory", "sdxl", *PARTS
    for part in sorted(options.parts, key=order.index):
        print(f"== {part}", flush=True)
        began = time.perf_counter()
        found[part] = measured(part, folder, options)
        print("\n".join(f"\n{table.markdown()}" for table in found[part]))
        print(f"\n({part} took {time.perf_counter() - began:.0f} s)", flush=True)
        yield [table for part in PARTS for table in found.get(part, ())]


def main() -> None:
    import torch

    gpu = torch.cuda.is_available()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=512 if gpu else 256, help="pixels a side, a multiple of 64")
    parser.add_argument("--memory-size", type=int, default=512, help="the same, of the parts on memory and SDXL")
    parser.add_argument("--repeats", type=int, default=10 if gpu else 4, help="even: in both orders alike")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--architecture", choices=("full", "small"), default="full", help="small: to try the script")
    parser.add_argument("--page", type=Path, default=PAGE)
    parser.add_argument("--no-page", action="store_true")
    options = parser.parse_args()
    stopwatch.restart_with_keeping_malloc()
    from bench.speed import page

    with tempfile.TemporaryDirectory() as folder:
        for tables in run(options, Path(folder)):
            if not options.no_page:
                text = page.page(page.introduction(options, stopwatch.machine(), gpu), tables)
                options.page.write_text(text, encoding="utf-8")
                print(f"Written to {options.page}.")


if __name__ == "__main__":
    main()
