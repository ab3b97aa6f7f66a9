"""The command in processes of its own: killed, stopped, run twice at once."""

import csv
import os
import re
import signal
import subprocess
import sys
import time

import pytest

from persona_core.command.main import main
from persona_core.persona import Persona
from tools import random_checkpoint
from tools.environment import PACK

NAMES = "ann", "bob", "cat"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return random_checkpoint.build(tmp_path_factory.mktemp("checkpoint") / "random.ckpt")


@pytest.fixture
def asked(people, checkpoint, tmp_path):
    """A command on a table of three people."""
    table = people(*({"id": name, "train_seed": seed, "steps": 6} for seed, name in enumerate(NAMES)))
    return ["learn", str(table), "--out", str(tmp_path / "out"), "--checkpoint", str(checkpoint), "--cpu"]


@pytest.fixture
def begin(asked):
    """Starts it in a process of its own."""
    begun = []

    def start() -> subprocess.Popen:
        command = [sys.executable, "-m", "tools.persona", *asked]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        begun.append(subprocess.Popen(command, cwd=PACK, **pipes))
        return begun[-1]

    yield start
    for process in begun:
        process.kill()
        process.wait()


def learned(folder) -> list[str]:
    return sorted(file.stem for file in folder.glob("*.safetensors"))


def left(folder, name: str = "") -> list[str]:
    """Files of learning that goes on, or was killed."""
    return [file.name for file in folder.glob(f".{name}*-*")]


def table(folder) -> dict[str, dict]:
    with (folder / "results.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == len({line["id"] for line in lines})
    return {line["id"]: line for line in lines}


def told(folder) -> list[str]:
    """Who has a result, while it is written."""
    there = (folder / "results.csv").read_text() if (folder / "results.csv").is_file() else ""
    return [name for name in NAMES if f"\n{name}," in there]


def wait_for(happened, process) -> None:
    while not happened():
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)


@pytest.mark.skipif(os.name == "nt", reason="no such signals")
def test_whoever_is_killed_or_stopped_goes_on(begin, asked, tmp_path, capsys):
    out = tmp_path / "out"
    killed = begin()
    wait_for(lambda: told(out) == ["ann"] and left(out, "bob"), killed)
    killed.kill()
    killed.wait()
    first = (out / "ann.safetensors").read_bytes()
    stopped = begin()
    wait_for(lambda: told(out) == ["ann", "bob"] and left(out, "cat"), stopped)
    stopped.send_signal(signal.SIGINT)
    said, _ = stopped.communicate()
    assert stopped.returncode == 130 and "Run it again" in said and "Traceback" not in said
    assert learned(out) == ["ann", "bob"] and not [name for name in left(out) if name.endswith(".lock")]
    assert main(asked) == 0 and "1 learned, 2 there already, 0 failed." in capsys.readouterr().out
    assert (out / "ann.safetensors").read_bytes() == first and not left(out)
    lines = table(out)
    assert [lines[name]["status"] for name in NAMES] == ["learned"] * 3
    prints = {name: Persona.load(out / f"{name}.safetensors").fingerprint for name in NAMES}
    assert prints == {name: line["fingerprint"] for name, line in lines.items()}


def test_a_full_disk_ends_the_run_with_a_sentence_and_nothing_torn(asked, tmp_path, capsys):
    (out := tmp_path / "out").mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", out], capture_output=True).returncode:
        pytest.skip("mounting a small file system needs root")
    try:
        (ballast := out / "ballast").write_bytes(bytes(4 * 2**20 - 12_288))  # but for three pages
        assert main(asked) == 1
        said = capsys.readouterr().err
        assert "ann  failed" in said and "Free some space" in said and "disk is full" in said
        assert not learned(out) and set(table(out)) == {"ann"}
        ballast.unlink()
        subprocess.run(["mount", "-o", "remount,size=20m", out], check=True)
        assert main(asked) == 0 and "3 learned, 0 there already, 0 failed." in capsys.readouterr().out
        assert [line["status"] for line in table(out).values()] == ["learned"] * 3 and not left(out)
    finally:
        subprocess.run(["umount", out], check=True)


def test_a_row_that_fails_is_told_by_the_exit_code_unless_it_is_allowed(asked, tmp_path):
    (tmp_path / "people.csv").write_text("id,photo\nann,nowhere.png\n")
    assert main(asked) == 1 and main([*asked, "--allow-failures"]) == 0


def test_two_at_once_learn_each_person_once(begin, asked, tmp_path, capsys):
    other = begin()
    wait_for(lambda: left(tmp_path / "out", "ann"), other)
    assert main(asked) == 0
    said = capsys.readouterr().out + other.communicate()[0]
    assert [len(re.findall(f"  {name}  learned", said)) for name in NAMES] == [1, 1, 1] and other.returncode == 0
    assert learned(tmp_path / "out") == list(NAMES) == sorted(table(tmp_path / "out")) and not left(tmp_path / "out")
