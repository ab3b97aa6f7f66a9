"""Learn many tiny personas on a Ray cluster in which workers and the command itself are killed, and say what it would
take for a million people.

    make bench-many [ARGS="--people 20"]

Takes a quarter of an hour on 2 cores and writes docs/many.md.
"""

import argparse
import csv
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

from tools import host_modules  # noqa: F401, isort: skip  (before comfy)

import psutil
from skimage import data, io

from bench.many_paper import paper
from bench.pages import made
from persona_core.command.results import LEARNED, THERE, lines_in
from persona_core.persona import Persona
from tools import random_checkpoint
from tools.environment import PACK, installed

PAGE = PACK / "docs/many.md"
WORKERS, PORT = 3, 6399
# What takes least: the people are one photo, learned with as many seeds.
LEAST = {"photo": "face.png", "steps": 2, "batch_size": 1, "resolution": 64, "tokens": 1, "te_weight": 0.0}
LEAST |= {"crop_to_face": "no"}
KEY = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1"}
TEXT = """# Many people, many machines

Written by `make bench-many` ({made}). How to run it: [operators.md](operators.md).

## A cluster in which things are killed

A Ray cluster of {workers} workers on this machine of {cores} cores, {people} rows: one photo, as many seeds, 2 steps, a
small random checkpoint. So the seconds say nothing of a real checkpoint; that each persona is there once, and is the
same, does not depend on it. `OMP_NUM_THREADS` is 1 on both sides, as sums are rounded by the number of threads.

{happened}

| {people} rows | |
| --- | --- |
{counts}

## A million people, on paper

{paper}
"""


class Run:
    """`persona learn` in a process of its own. said: its lines."""

    def __init__(self, folder: Path, out: Path, checkpoint: Path, *options: str):
        self.out, self.log = out, (folder / f"{out.name}-{time.monotonic_ns()}.log").open("w+")
        command = sys.executable, "-m", "tools.persona", "learn", folder / "people.csv", "--out", out
        own = {**os.environ, **KEY, **QUIET, "COMFYUI_PATH": installed()["host"]}
        given = {"cwd": PACK, "env": own, "stdout": self.log, "stderr": subprocess.STDOUT}
        self.began = time.monotonic()
        self.process = subprocess.Popen([*command, "--checkpoint", checkpoint, "--cpu", *options], **given)

    def until(self, count: int) -> float:
        """Wait for so many results in the table; the seconds since the start."""
        while len(lines_in(self.out / "results.csv")) < count:
            if self.process.poll() is not None:
                sys.exit(Path(self.log.name).read_text())
            time.sleep(0.1)
        return time.monotonic() - self.began

    def end(self) -> float:
        if self.process.wait():
            sys.exit(Path(self.log.name).read_text())
        return time.monotonic() - self.began

    def told(self) -> Counter:
        """How many were told as learned, and as there."""
        lines = (line.split() for line in Path(self.log.name).read_text().splitlines())
        return Counter(line[2] for line in lines if len(line) > 2 and line[2] in (LEARNED, THERE))


def workers_of(process: subprocess.Popen) -> list[psutil.Process]:
    """Those that Ray runs below it and that are at work, or about to be."""
    found = []
    for one in psutil.Process(process.pid).children(recursive=True):
        with suppress(psutil.Error):  # it ended meanwhile
            found += [one] if "".join(one.cmdline()[:1]).startswith("ray::MapWorker") else []
    return found


def start_cluster(folder: Path) -> subprocess.Popen:
    command = Path(sys.executable).with_name("ray"), "start", "--head", "--block", "--disable-usage-stats"
    own = f"--num-cpus={WORKERS}", f"--port={PORT}", "--include-dashboard=false", f"--temp-dir={folder / 'ray'}"
    environment = {**os.environ, **KEY, **QUIET, "COMFYUI_PATH": installed()["host"]}
    log = (folder / "ray.log").open("w")
    cluster = subprocess.Popen([*command, *own], env=environment, stdout=log, stderr=subprocess.STDOUT)
    while "Ray runtime started" not in (folder / "ray.log").read_text():
        if cluster.poll() is not None:
            sys.exit((folder / "ray.log").read_text())
        time.sleep(0.2)
    return cluster


def write_people(folder: Path, people: int) -> None:
    io.imsave(folder / "face.png", data.astronaut(), check_contrast=False)
    with (folder / "people.csv").open("w", newline="") as file:
        (writer := csv.DictWriter(file, ["id", *LEAST, "train_seed"])).writeheader()
        writer.writerows({"id": f"p{number:03}", **LEAST, "train_seed": number} for number in range(people))


def on_cluster(folder: Path, out: Path, checkpoint: Path, people: int) -> tuple[list[str], dict[str, object]]:
    """What happened, in sentences, and what was counted."""
    cluster = start_cluster(folder)
    try:
        given = folder, out, checkpoint, "--ray", f"127.0.0.1:{PORT}", "--workers", str(WORKERS)
        first = Run(*given)
        happened = [f"- The first result is there {first.until(1):.0f} s after the command, with the start of Ray."]
        before = first.until(people // 4)
        old = set(workers_of(cluster))
        min(old, key=lambda one: one.pid).kill()
        while not set(workers_of(cluster)) - old:
            time.sleep(0.1)
        again = time.monotonic() - first.began - before
        happened.append(
            f"- At {people // 4} results a worker is killed (SIGKILL). Another is loading {again:.1f} s later."
        )
        first.until(people // 2)
        first.process.kill()
        first.process.wait()
        kept = {path: path.read_bytes() for path in out.glob("*.safetensors")}
        then = time.monotonic()
        while workers_of(cluster):
            time.sleep(0.1)
        gone = time.monotonic() - then
        happened.append(
            f"- At {people // 2} the command is killed. Its workers are gone {gone:.1f} s later, and "
            f"{len(kept)} personas are there. The same command is run again."
        )
        second = Run(*given)
        seconds = second.end()
        told = second.told()
        happened.append(f"- It ends {seconds:.0f} s later: {told[LEARNED]} learned, {told[THERE]} there already.")
        same = sum(path.read_bytes() == content for path, content in kept.items())
        rates = {"learned, told by the first command": first.told()[LEARNED]}
        rates["learned, told by the second"] = told[LEARNED]
        rates["there already, and left as they were"] = f"{told[THERE]}, {same} of {len(kept)} files byte for byte"
        return happened, rates
    finally:
        cluster.terminate()
        cluster.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=200, help="fewer: a look; no page")
    people = parser.parse_args().people
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_people(folder, people)
        checkpoint = random_checkpoint.build(folder / "random.ckpt")
        happened, counts = on_cluster(folder, folder / "many", checkpoint, people)
        print(*happened, sep="\n", flush=True)
        alone = Run(folder, folder / "alone", checkpoint)
        first, all_of_them = alone.until(1), alone.end()
        ids = Counter(line["id"] for line in lines_in(folder / "many/results.csv"))
        files = {path.name: path for path in (folder / "many").glob("*.safetensors")}
        same = sum(
            path.name in files and Persona.load(path).learned == Persona.load(files[path.name]).learned
            for path in (folder / "alone").glob("*.safetensors")
        )
        counts |= {
            "lines in the table of results": f"{sum(ids.values())}, {max(ids.values())} an id at most",
            "files": len(files),
            "same tensors as without Ray, bit for bit": same,
            "unfinished or torn files": len([*(folder / "many").glob(".*.partial"), *(folder / "many").glob("*.tmp")]),
        }
        happened.append(
            f"- Without Ray, in one process with one thread, all {people} take {all_of_them:.0f} s, the first of them "
            f"{first:.0f} s."
        )
        shown = "\n".join(f"| {name} | {value} |" for name, value in counts.items())
        size = sum(path.stat().st_size for path in files.values()) / len(files)
        on_paper = paper(folder, checkpoint, size)
    common = {"made": made(), "workers": WORKERS, "cores": os.cpu_count(), "people": people}
    text = TEXT.format(**common, happened="\n".join(happened), counts=shown, paper=on_paper)
    print(text)
    if people >= 200:
        PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
