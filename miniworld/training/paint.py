"""Paint what you like, while the painter is trained and after.

python -m miniworld.training.paint "a photo of Emma in a garden" ... [--copies 4] [--out sheet.png]
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from tools import host_modules  # noqa: F401, isort: skip  (before torch)

from .. import checkpoint, vae
from ..painting import paint
from ..sheet import sheet
from .learning import RUNS


def newest(*paths: Path) -> Path:
    """The first that is there."""
    return next((path for path in paths if path.exists()), paths[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("prompts", nargs="+")
    parser.add_argument("--painter", type=Path, default=newest(RUNS / "unet/painter.safetensors", checkpoint.FILE))
    parser.add_argument("--vae", type=Path, default=newest(RUNS / "vae/vae.safetensors", vae.FILE))
    parser.add_argument("--copies", type=int, default=4, help="pictures of each prompt, a row")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--guidance", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=RUNS / "painted.png")
    args = parser.parse_args()
    start = time.monotonic()
    prompts = [prompt for prompt in args.prompts for _ in range(args.copies)]
    parts = checkpoint.load(args.painter, args.vae)
    pictures = paint(*parts, prompts, args.seed, args.steps, args.guidance)
    sheet(pictures, args.copies, args.out)
    print(f"{len(pictures)} pictures in {time.monotonic() - start:.0f} s: {args.out}")


if __name__ == "__main__":
    main()
