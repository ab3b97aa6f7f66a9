"""What files, faults and load do to the pack, as one page of figures.

    make bench-trust [ARGS=--small]

Damages persona files and unfinished learning in every way, kills writers, lets several save one name, gives the nodes
large inputs, and queues a long load over HTTP. Writes docs/trust.md. Two hours; --small takes minutes and only prints.
"""

import argparse
import random
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from tools import host_modules  # noqa: F401, isort: skip  (before comfy)

import torch

from bench import limits, soak
from bench.damage import WAYS, damaged
from bench.pages import made, markdown
from bench.writers import found_by
from persona_core.files import PersonaFileError
from persona_core.kv_tokens import KVTokens
from persona_core.mapper import StageMapper
from persona_core.persona import Persona
from persona_core.stages import Stages

PAGE = Path(__file__).parent.parent / "docs/trust.md"
T = torch.tensor([0.0, 450.0, 999.0])
SLOW = 1.0  # seconds
TEXT = """# Trust: files, faults, load

Written by `make bench-trust` ({made}). What the pack does with damaged files, killed writers, large
inputs and a long load, counted.
[SECURITY.md](../SECURITY.md) says who may do what; the tests hold a part of each of these figures.

## Damaged persona files

Each is refused with one short sentence, or is the very persona that was saved. *Another*: it loads, and is somebody
else.

{files}

## Writers that are killed, and several at once

{saving}

## Large inputs

Each in a process of its own. *Times*: against the same prompt in plain ComfyUI. Of a prompt, only the sections of 77
tokens that a persona is in are encoded for each timestep, in portions; one whose contexts would not fit is refused
before anything is encoded.

{prompts}

Memory beside the pictures themselves, results included. Face Mask gives a mask and a picture with boxes as large as the
photo, Persona Score pictures with figures; ComfyUI's own nodes are there to compare with.

{pictures}

## A long load

{clients} clients queue prompts on two servers that share a folder of personas: painting one and two people, learning,
learning what is there, interrupts, errors. Each picture must be the one that the same prompt gave before, bit by bit.

{load}
"""


def personas() -> dict[str, Persona]:
    """Of all kinds, as large as SD1.5's."""
    generator = torch.Generator().manual_seed(0)
    word = 0.02 * torch.randn(768, generator=generator)
    mapper = StageMapper(word, Stages(), 4)
    torch.nn.init.normal_(mapper.head.weight, std=0.1, generator=generator)
    tokens = KVTokens(word, 0.02 * torch.randn(5, 2, 768, generator=generator))
    shared = ("SD1.x (clip_l, 768 wide)", "face", {"steps": 3}, {"noise": [0.5, 0.4]}, "a" * 32)
    return {one.kind: Persona("ann", one, *shared) for one in (mapper, mapper.requires_grad_(False).small(), tokens)}


def outcomes(content: bytes, way: str, count: int, path: Path) -> Counter:
    """What loading does with so many files that were damaged in one way."""
    found, chance = Counter(), random.Random(way)
    path.write_bytes(content)
    whole = Persona.load(path)
    for _ in range(count):
        path.write_bytes(damaged(content, way, chance))
        began = time.monotonic()
        try:
            loaded = Persona.load(path)
            same = torch.equal(loaded.representation.at(T).keys, whole.representation.at(T).keys)
            found["the same" if same else "another"] += 1
        except PersonaFileError as error:
            found["refused" if len(str(error)) <= 300 and str(error).isprintable() else "refused badly"] += 1
        except Exception as error:  # what must not be
            found[f"raw {type(error).__name__}"] += 1
        found["slow"] += time.monotonic() - began > SLOW
    return found


def files_table(count: int, folder: Path) -> str:
    headings = "", "files", "refused", "the same", "another", "raw errors, bad sentences", f"over {SLOW:g} s"
    lines = [headings, ("---",) * len(headings)]
    for kind, persona in personas().items():
        for way in WAYS:
            found = outcomes(persona.to_bytes(), way, count, folder / "ann.safetensors")
            other = sum(value for name, value in found.items() if name.startswith("raw") or name == "refused badly")
            shown = found["refused"], found["the same"], found["another"], other, found["slow"]
            lines.append((f"{kind}, {way}", f"{count:,}", *(f"{value:,}" for value in shown)))
    return markdown(lines)


def killed(folder: Path, source: Path, kills: int) -> str:
    found = found_by(folder, source, kills=kills)
    return (
        f"- {found.killed:,} writers killed, {found.inside:,} of them inside a save. Of {found.saved:,} personas that "
        f"were reported as saved, {found.lost} lost. {found.torn} files torn, {found.nameless} times nothing under the "
        f"name, {found.failed} writers that could not save. {found.left:,} temporary files, which saving clears after "
        "an hour."
    )


def together(folder: Path, source: Path, writers: int, rounds: int) -> str:
    found = found_by(folder, source, writers=writers, rounds=rounds)
    return (
        f"- {writers} writers at once of {rounds:,} personas each, under one name. Of {found.saved:,} that were "
        f"reported as saved, {found.lost} lost. {found.torn} files torn, {found.left} temporary files, {found.failed} "
        "writers that failed."
    )


def load_text(prompts: int, told: Callable[[int], None]) -> str:
    headings = "", "prompts", f"MB a prompt after {soak.WARM}", "open files more", "threads more", "wrong"
    lines = [headings, ("---",) * len(headings)]
    for number, load in enumerate(soak.soak(prompts, told), 1):
        grown, files, threads = soak.growth(load)
        done = sum(load.ended.values())
        lines.append(
            (f"server {number}", str(done), f"{grown:+.3f}", f"{files:+}", f"{threads:+}", str(len(load.wrong)))
        )
    return markdown(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="a look: 50 files a way, 50 kills, 60 prompts; no page")
    for name, count, what in (
        ("--files", 1000, "damaged in each way"), ("--kills", 1000, "of a writer"),
        ("--rounds", 1000, "of each of 4 writers"), ("--prompts", 1000, "of the long load"),
    ):  # fmt: skip
        parser.add_argument(name, type=int, default=count, help=what)
    args = parser.parse_args()
    files, kills, rounds, prompts = (
        (50, 50, 20, 60) if args.small else (args.files, args.kills, args.rounds, args.prompts)
    )
    with tempfile.TemporaryDirectory() as name:
        base = Path(name)
        source = personas()["kv_tokens"].save(base / "source/ann.safetensors")
        for part in ("files", "killed", "together"):
            (base / part).mkdir()
        table = files_table(files, base / "files")
        print(table, flush=True)
        saving = "\n".join((killed(base / "killed", source, kills), together(base / "together", source, 4, rounds)))
        print(saving, flush=True)
    large = limits.tables(args.small)
    print(*large.values(), sep="\n\n", flush=True)
    load = load_text(prompts, lambda done: print(f"{done} of {prompts}", flush=True) if done % 50 == 0 else None)
    text = TEXT.format(made=made(), files=table, saving=saving, clients=soak.CLIENTS, load=load, **large)
    print(text)
    if not args.small:
        PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
