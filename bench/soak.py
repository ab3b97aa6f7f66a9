"""A long load: eight clients queue prompts over HTTP on two ComfyUIs that share a folder of personas. Learning, and
painting one and two people, interrupts and errors are mixed, and whatever ends must be right.

    python -m bench.soak [--prompts 1000]

`make bench-trust` runs it. Memory, open files and threads are read from Linux' /proc.
"""

import argparse
import random
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from miniworld import workflow
from miniworld.measuring.subjects import subject
from tools.comfy_server import ComfyServer, PromptRefused, Run
from tools.small_world import NODE_PACK

CLIENTS, WARM = 8, 100  # prompts of a server until its memory is looked at
TEXTS = "a photo of <ann> wearing a red cap", "a photo of <ann> at the beach", "a <ann> laughing"
TWO = "a photo of <ann> on the left and <bob> on the right in a garden"
MEGABYTE = 2**20
KINDS = {"paint": 10, "two people": 3, "learn": 2, "learn again": 1, "interrupt": 2, "error": 2}  # how often, about


@dataclass(frozen=True)
class Usage:
    """Of a process. memory: resident, bytes."""

    memory: int
    files: int
    threads: int

    @classmethod
    def of(cls, process: int) -> "Usage":
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
        status = dict(line.split(":", 1) for line in lines if ":" in line)
        files = len(list(Path(f"/proc/{process}/fd").iterdir()))
        return cls(int(status["VmRSS"].split()[0]) * 1024, files, int(status["Threads"]))


@dataclass
class Load:
    """What happens to one server. right: each picture that a prompt must give, by its text and seed."""

    server: ComfyServer
    ann: list[str]
    right: dict[tuple[str, int], Tensor] = field(default_factory=dict)
    ended: Counter = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    usage: list[tuple[int, Usage]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def prompt(self, name: str = "ann", **changes: dict) -> dict:
        """Learned in two steps: what is learned does not matter here."""
        few = {"PersonaLearn": {"name": name, "steps": 2}, "KSampler": {"steps": 4}}
        return workflow.learn_and_paint(*self.ann, **{**few, **changes})

    def run(self, kind: str, number: int, chance: random.Random) -> None:
        ended = getattr(self, kind.replace(" ", "_"))(number, chance)
        with self.lock:
            self.ended[f"{kind}: {ended}"] += 1
            done = sum(self.ended.values())
            if done % 20 == 0:
                self.usage.append((done, Usage.of(self.server.process.pid)))

    def paint(self, number: int, chance: random.Random, prompt: dict | None = None, text: str | None = None) -> str:
        text, seed = text or chance.choice(TEXTS), chance.randrange(3)
        prompt = workflow.asking(prompt or self.prompt(), text, seed)
        # The file's name, so that the prompt is new to the server, which would else paint nothing.
        next(node for node in prompt.values() if node["class_type"] == "SaveImage")["inputs"]["filename_prefix"] = (
            f"soak/{number}"
        )
        run = self.server.run(prompt)
        if run.status != "success":
            return self.bad(run, interrupted=True)
        picture = pictures(self.server, prompt, run)
        if not torch.equal(self.right.setdefault((text, seed), picture), picture):
            self.wrong.append(f"another picture of {text!r}, seed {seed}")
        return "right"

    def two_people(self, number: int, chance: random.Random) -> str:
        return self.paint(number, chance, workflow.beside(self.prompt(), "bob"), TWO)

    def learn(self, number: int, chance: random.Random) -> str:
        """Another seed each time, so that files of one name make room for each other, on both servers."""
        changes = {"PersonaLearn": {"name": "shared", "steps": 2, "train_seed": number}}
        run = self.server.run(workflow.only_learning(self.prompt(**changes)))
        return "right" if run.status == "success" else self.bad(run, interrupted=True)

    def learn_again(self, number: int, chance: random.Random) -> str:
        run = self.server.run(workflow.only_learning(self.prompt()))
        return "right" if run.status == "success" else self.bad(run, interrupted=True)

    def interrupt(self, number: int, chance: random.Random) -> str:
        """Stopped as soon as it says anything, wherever it is then."""
        changes = {"PersonaLearn": {"name": f"stopped {number}", "steps": 500, "train_seed": number}}
        wait = chance.random()

        def stop(kind: str, data: dict) -> None:
            if kind == "progress":
                time.sleep(wait)
                self.server.interrupt(data["prompt_id"])

        run = self.server.run(self.prompt(**changes), stop)
        return "right" if run.status == "interrupted" else self.bad(run, interrupted=False)

    def error(self, number: int, chance: random.Random) -> str:
        """What a user gets wrong: refused at once, or a sentence."""
        wrong = {"supercategory": "two words"} if number % 2 else {"name": "../../x"}
        changes = {"PersonaLearn": {"steps": 2, **wrong}}
        try:
            run = self.server.run(
                self.prompt(**{**changes, "PersonaLearn": {"name": "ann", **changes["PersonaLearn"]}})
            )
        except PromptRefused:
            return "right"
        return "right" if run.status == "error" and run.error else self.bad(run, interrupted=True)

    def bad(self, run: Run, interrupted: bool) -> str:
        if not (interrupted and run.status == "interrupted"):  # by another client's Interrupt
            self.wrong.append(f"{run.status}: {run.error[:200]}")
        return run.status


def pictures(server: ComfyServer, prompt: dict, run: Run) -> Tensor:
    [saver] = [key for key, node in prompt.items() if node["class_type"] == "SaveImage"]
    return torch.stack(
        [torch.frombuffer(bytearray(server.view(one)), dtype=torch.uint8) for one in run.outputs[saver]["images"]]
    )


@contextmanager
def two_servers(folder: Path) -> Iterator[list[Load]]:
    """On one folder of personas, in which bob is already."""
    shared = folder / "personas"
    shared.mkdir()
    bases = [folder / "one", folder / "two"]
    for base in bases:
        (base / "models").mkdir(parents=True)
        (base / "models/personas").symlink_to(shared, target_is_directory=True)
    with ComfyServer(bases[0], cpu=True, packs=[NODE_PACK], extra_args=["--disable-metadata"]) as one:
        with ComfyServer(bases[1], cpu=True, packs=[NODE_PACK], extra_args=["--disable-metadata"]) as two:
            loads = [Load(server, workflow.upload(server, subject(8, "demo"), "photo")) for server in (one, two)]
            bob = workflow.upload(one, subject(9, "demo"), "bob")
            learning = workflow.learn_and_paint(*bob, PersonaLearn={"name": "bob", "steps": 2})
            assert one.run(workflow.only_learning(learning)).status == "success"
            yield loads


def soak(prompts: int, told: Callable[[int], None] = lambda done: None) -> list[Load]:
    """So many prompts over both servers."""
    with tempfile.TemporaryDirectory() as folder, two_servers(Path(folder)) as loads:
        chance, each = random.Random(0), []
        for number in range(prompts):
            kind = chance.choices(list(KINDS), list(KINDS.values()))[0]
            each.append((loads[number % 2], kind, number, random.Random(number)))
        with ThreadPoolExecutor(CLIENTS) as clients:
            running = [clients.submit(load.run, *work) for load, *work in each]
            for done, one in enumerate(running, 1):
                one.result()
                told(done)
        for load in loads:
            load.usage.append((sum(load.ended.values()), Usage.of(load.server.process.pid)))
    return loads


def growth(load: Load) -> tuple[float, int, int]:
    """From the first look after WARM prompts to the last: megabytes a prompt, and open files and threads more."""
    (first, before), (last, after) = next((one for one in load.usage if one[0] >= WARM), load.usage[0]), load.usage[-1]
    grown = (after.memory - before.memory) / MEGABYTE / max(1, last - first)
    return grown, after.files - before.files, after.threads - before.threads


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=1000)
    args = parser.parse_args()
    loads = soak(args.prompts, lambda done: print(f"{done} of {args.prompts}", flush=True) if done % 20 == 0 else None)
    for number, load in enumerate(loads, 1):
        grown, files, threads = growth(load)
        print(f"server {number}: {grown:+.3f} MB a prompt after {WARM}, {files:+} open files, {threads:+} threads")
        print(f"  {dict(load.ended)}")
        print(f"  wrong: {load.wrong or 'nothing'}")


if __name__ == "__main__":
    main()
