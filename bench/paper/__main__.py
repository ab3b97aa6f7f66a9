"""The papers' tables on a checkpoint and photos of your own, by one command.

    make bench-paper CHECKPOINT=/path/x.safetensors PHOTOS=/path/folder [ARGS=--small]
    make bench-paper ARGS="--world --people 4"     in the made-up world, without either

PHOTOS holds one photo a person, or a folder a person: the first photo in it by name is learned, the others are what
pictures are compared with. See docs/paper.md. A run that was stopped goes on where it was.
"""

import argparse
import hashlib
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tqdm import tqdm

PACK = Path(__file__).resolve().parents[2]
RESULTS = PACK / ".comfyui/paper"
BOTH = "published", "usual"
BAR = "{l_bar}{bar}| {n:.1f} of {total:.0f} [{elapsed}, {remaining} left]"


def options_of(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="bench.paper", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--small", action="store_true", help="a first look: few rows, people, prompts and steps, one sampler")
    add("--rows", nargs="+", help="some of the rows, by their short names; all if left out")
    add("--people", type=int, help="so many of the folder's; all if left out")
    add("--seeds", type=int, help="pictures of each prompt (4)")
    add("--prompts", type=int, help="so many, evenly from all")
    add("--sampler", choices=(*BOTH, "both"), help="published: DDIM, 50 steps, guidance 7.5. usual: dpmpp_2m (both)")
    add("--steps", type=int, help="of learning, for a first look: no row learns as it should then")
    add("--sampling-steps", type=int, help="of the samplers")
    add("--resolution", type=int, default=0, help="pixels a side (what the checkpoint's family paints best at)")
    add("--supercategory", default="person", help="the common word (person)")
    add("--clip", type=Path, help="a text encoder with its projection, for the Prompt columns")
    add("--clip-vision", type=Path, help="the image encoder of the same CLIP")
    add("--batch", type=int, default=4, help="pictures painted at once (4)")
    add("--out", type=Path, help="where page.md and results.json go (.comfyui/paper)")
    add("--world", action="store_true", help="the made-up world")
    add("--with-pictures", action="store_true", help="contact sheets of what was painted: they are likenesses")
    add("--with-photos", action="store_true", help="and the photos on them")
    add("--with-names", action="store_true", help="people's names, which are those of their files")
    args = parser.parse_args(arguments)
    small = {"people": 2, "seeds": 1, "prompts": 8, "sampler": "usual", "steps": 50, "sampling_steps": 12}
    usual = {"seeds": 1 if args.world else 4, "sampler": "both", "steps": 0}
    for name, value in (*(small.items() if args.small else ()), *usual.items()):
        if getattr(args, name) is None:
            setattr(args, name, value)
    return args


def stop(sentence: str) -> None:
    print(sentence, file=sys.stderr)
    sys.exit(2)


def place(name: str, is_right) -> Path:
    """What a variable of the environment names."""
    if not os.environ.get(name):
        stop(
            f"{name} is not given. Say which checkpoint and which photos: make bench-paper "
            "CHECKPOINT=/path/x.safetensors PHOTOS=/path/folder; or try the made-up world: ARGS=--world."
        )
    found = Path(os.environ[name]).expanduser()
    if not is_right(found):
        stop(f"{name} is {found}, but there is no such {'file' if name == 'CHECKPOINT' else 'folder'}.")
    return found


def world_of(args: argparse.Namespace):
    """Where to measure. The imports load ComfyUI, on the CPU for the made-up world."""
    if args.world:
        from bench.paper.made_up import MadeUpWorld

        return MadeUpWorld(args.people or 2)
    checkpoint, photos = place("CHECKPOINT", Path.is_file), place("PHOTOS", Path.is_dir)
    for file in filter(None, (args.clip, args.clip_vision)):
        if not file.is_file():
            stop(f"There is no file {file}.")
    from bench.paper.prompts import PROMPTS, some
    from bench.paper.real import SAMPLERS, RealWorld

    samplers = {name: SAMPLERS[name] for name in (BOTH if args.sampler == "both" else (args.sampler,))}
    if args.sampling_steps:
        samplers = {name: replace(one, steps=args.sampling_steps) for name, one in samplers.items()}
    return RealWorld(
        checkpoint, photos, args.people, args.supercategory, args.resolution, args.clip, args.clip_vision, args.batch,
        some(PROMPTS, args.prompts or len(PROMPTS)), samplers,
    )  # fmt: skip


def made_with(*settings: object) -> str:
    """A name for all that results depend on: those of other code, weights, photos or settings are none of these."""
    code = [*PACK.glob("persona_core/**/*.py"), *PACK.glob("miniworld/measuring/*.py"), *PACK.glob("bench/paper/*.py")]
    code += [PACK / f"bench/{name}.py" for name in ("learning", "quality", "rivals")]
    digest = hashlib.sha256(repr(settings).encode())
    for file in sorted(one for one in code if one.stem not in ("page", "published", "results", "__main__")):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


def main(arguments: Sequence[str] | None = None) -> None:
    args = options_of(arguments)
    from tools import host_modules  # noqa: F401, isort: skip  (before torch)
    from bench.paper.world import CannotMeasure

    try:
        world = world_of(args)
        measure(args, world)
    except CannotMeasure as error:
        stop(str(error))
    except KeyboardInterrupt:
        sys.exit("Stopped. Give the same command again: it goes on from here.")


def measure(args: argparse.Namespace, world) -> None:
    from bench.paper.measure import Bench
    from bench.paper.page import page
    from bench.paper.results import gather
    from bench.paper.rows import SMALL, chosen, rows
    from bench.paper.world import CannotMeasure
    from persona_core.files import write_whole

    everything = rows(world.supercategory, world.resolution, args.steps, list(world.neighbours))
    names = args.rows or (SMALL if args.small else everything)
    if unknown := [name for name in names if name not in everything]:
        raise CannotMeasure(f"There is no row {unknown[0]}. There are: {', '.join(everything)}.")
    settings = (world.made_of, world.samplers, world.prompts, world.supercategory, args.seeds, args.steps)
    parts = (args.out / "parts" if args.out else RESULTS) / made_with(*settings)
    out = args.out or parts
    parts.mkdir(parents=True, exist_ok=True)
    sheets = out / "sheets" if args.with_pictures or args.with_photos else None
    bench = Bench(world, chosen(names, everything), parts, args.seeds, sheets, args.with_photos)
    with tqdm(total=sum(map(bench.work, range(len(world.names)))), bar_format=BAR) as bar:
        bench = replace(bench, told=bar.update)
        learning = f"{args.steps} steps in every row, for a first look" if args.steps else "as each row has it"
        told = {"learning": learning, "learning's seed": 0}
        for number in range(len(world.names)):
            bar.set_description(f"person {number + 1} of {len(world.names)}")
            bench.measure(number)
            found = gather(bench, told, args.with_names)
            write_whole(out / "results.json", json.dumps(found, indent=1).encode())
            shown = sorted(f"sheets/{file.name}" for file in sheets.glob("*.jpg")) if sheets else ()
            write_whole(out / "page.md", page(found, shown).encode())
    print(f"Written: {out / 'page.md'}, {out / 'results.json'}")


if __name__ == "__main__":
    main()
