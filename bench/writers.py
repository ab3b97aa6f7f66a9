"""Writers that save personas under one name and are killed, or save at once: is there what each was told is saved?

    python -m bench.writers FOLDER PERSONA --kills 1000
    python -m bench.writers FOLDER PERSONA --writers 4 --rounds 1000

Prints what was found, as JSON. FOLDER: empty. A process of its own, which imports everything once and forks.
"""

from tools import host_modules  # noqa: F401, isort: skip  (before comfy)

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import count
from pathlib import Path

import folder_paths
import torch

from persona_core.files import TEMPORARY
from persona_core.host import store
from persona_core.persona import Persona

LONGEST_TURN = 0.25  # seconds between a writer's first save and its death
PATIENCE = 60  # seconds for a save; there is a lock that a killed writer may have held
SAVING, SAVED = "saving", "saved"


@dataclass
class Found:
    """killed, inside: writers, and those of them that were in a save. saved: personas that were reported as saved.
    lost: of these, not there afterwards. nameless: deaths after which nothing was under the name. torn: files that
    cannot be read. left: temporary files. failed: writers that ended by an error, or could not save."""

    killed: int = 0
    inside: int = 0
    saved: int = 0
    lost: int = 0
    nameless: int = 0
    torn: int = 0
    left: int = 0
    failed: int = 0

    def look(self, path: Path, expected: set[str]) -> None:
        """Read all that is there after a death, or in the end, and count what is not as it must be."""
        folder = path.parent
        there = [store.read(file) for file in folder.glob(f"*{store.EXTENSION}")]
        self.torn += there.count(None)
        self.lost += len(expected - {one.fingerprint for one in there if one})
        self.nameless += not path.exists()
        self.left = sum(file.name.endswith((store.FRESH, TEMPORARY)) for file in folder.iterdir())


class Writer:
    """A process that saves personas under one name, and reports each before and after."""

    def __init__(self, path: Path, persona: Persona, who: int, rounds: int | None, reports: Path):
        self.reports = reports / f"{who}"
        self.reports.touch()
        self.process = os.fork()
        if not self.process:
            try:
                self.write(path, persona, who, rounds)
            except BaseException as error:
                print(f"A writer failed: {error!r}", flush=True)
                os._exit(1)
            os._exit(0)

    def write(self, path: Path, persona: Persona, who: int, rounds: int | None) -> None:
        with self.reports.open("ab", buffering=0) as reports:  # what is written survives the writer's death
            for number in count() if rounds is None else range(rounds):
                fingerprint = f"{number % 2**16:04x}{who % 2**16:04x}".ljust(32, "0")
                reports.write(f"{SAVING} {fingerprint}\n".encode())
                store.save(replace(persona, fingerprint=fingerprint), path)
                reports.write(f"{SAVED} {fingerprint}\n".encode())

    def reported(self) -> list[list[str]]:
        return [line.split() for line in self.reports.read_text().splitlines()]

    def saved(self) -> set[str]:
        return {fingerprint for what, fingerprint in self.reported() if what == SAVED}

    def wait(self) -> int:
        return os.waitstatus_to_exitcode(os.waitpid(self.process, 0)[1])


def killed(folder: Path, persona: Persona, kills: int, reports: Path) -> Found:
    """One writer after the other, each killed at a random moment. What was kept is cleared away after each."""
    found, path, chance = Found(), folder / f"ann{store.EXTENSION}", random.Random(0)
    before: set[str] = set()
    for who in range(kills):
        writer, began = Writer(path, persona, who, None, reports), time.monotonic()
        while not writer.saved() and time.monotonic() - began < PATIENCE:
            time.sleep(0.005)
        time.sleep(LONGEST_TURN * chance.random())
        os.kill(writer.process, signal.SIGKILL)
        found.killed += 1
        found.failed += writer.wait() != -signal.SIGKILL or not writer.saved()
        found.inside += writer.reported()[-1:] != [] and writer.reported()[-1][0] == SAVING
        found.saved += len(writer.saved())
        found.look(path, before | writer.saved())
        for file in set(folder.glob(f"*{store.EXTENSION}")) - {path}:
            file.unlink()
        last = store.read(path) if path.exists() else None
        before = {last.fingerprint} if last else set()
    return found


def together(folder: Path, persona: Persona, writers: int, rounds: int, reports: Path) -> Found:
    """Several save at once."""
    found, path = Found(), folder / f"ann{store.EXTENSION}"
    running = [Writer(path, persona, who, rounds, reports) for who in range(writers)]
    found.failed = sum(writer.wait() != 0 for writer in running)
    saved = set().union(*(writer.saved() for writer in running))
    found.saved = len(saved)
    found.look(path, saved)
    return found


def found_by(folder: Path, persona: Path, **counts: int) -> Found:
    """What this module, as a program, finds. counts: kills, or writers and rounds."""
    given = [f"--{name}={count}" for name, count in counts.items()]
    command = [sys.executable, "-m", "bench.writers", str(folder), str(persona), *given]
    ended = subprocess.run(command, cwd=Path(__file__).parent.parent, stdout=subprocess.PIPE, text=True)
    if ended.returncode:
        raise RuntimeError(f"The writers could not be started:\n{ended.stdout}")
    return Found(**json.loads(ended.stdout.splitlines()[-1]))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("persona", type=Path, help="a file, of which each saves variants")
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--writers", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=0)
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)  # threads do not live on in a fork
    folder_paths.folder_names_and_paths[store.FOLDER] = ([str(given.folder)], {store.EXTENSION})
    persona = Persona.load(given.persona)
    with tempfile.TemporaryDirectory() as reports:
        if given.kills:
            found = killed(given.folder, persona, given.kills, Path(reports))
        else:
            found = together(given.folder, persona, given.writers, given.rounds, Path(reports))
    print(json.dumps(asdict(found)))


if __name__ == "__main__":
    main()
