"""`persona paint` as a command: killed and run again, and what is asked wrongly."""

import json
import os
import shutil
import subprocess
import sys
import time

import pytest
from PIL import Image
from prompts import FIRST_RELEASE

from persona_core import provenance
from persona_core.command.main import main
from tools import random_checkpoint
from tools.environment import PACK


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return random_checkpoint.build(tmp_path_factory.mktemp("checkpoint") / "random.ckpt")


@pytest.fixture
def asked(checkpoint, tmp_path):
    """A command on two people, two prompts, two seeds."""
    (tmp_path / "people").mkdir()
    for name, kind in (("ann", "stage_mapper"), ("bob", "kv_tokens")):
        shutil.copy(FIRST_RELEASE / f"{kind}.safetensors", tmp_path / f"people/{name}.safetensors")
    (tmp_path / "prompts.txt").write_text("a photo of <ann>\n{} in the snow\n")
    small = "--width", "64", "--height", "64", "--steps", "2", "--at-once", "1", "--cpu"
    folders = str(tmp_path / "people"), "--prompts", str(tmp_path / "prompts.txt"), "--out", str(tmp_path / "out")
    return ["paint", *folders, "--checkpoint", str(checkpoint), *small]


def painted(out) -> list[str]:
    return sorted(str(file.relative_to(out)) for file in out.rglob("[!.]*.png"))


@pytest.mark.skipif(os.name == "nt", reason="no such signals")
def test_whoever_is_killed_while_painting_goes_on(asked, tmp_path, capsys):
    out = tmp_path / "out"
    command = [sys.executable, "-m", "tools.persona", *asked]
    killed = subprocess.Popen(command, cwd=PACK, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    while len(painted(out)) < 2:
        assert killed.poll() is None, killed.communicate()
        time.sleep(0.01)
    killed.kill()
    killed.communicate()
    before = {name: (out / name).read_bytes() for name in painted(out)}
    assert 2 <= len(before) < 10, "it was killed in the middle"
    assert main(asked) == 0 and ", 0 failed." in capsys.readouterr().out
    names = [f"000{number}.png" for number in range(1, 5)]
    assert painted(out) == ["ann.png", *(f"ann/{one}" for one in names), "bob.png", *(f"bob/{one}" for one in names)]
    assert all((out / name).read_bytes() == content for name, content in before.items())
    keys = set()
    for name in painted(out):
        Image.open(out / name).load()
        keys.add(json.loads(provenance.read((out / name).read_bytes()).texts["painting"])["key"])
    assert len(keys) == 10 and not list(out.glob(".*")), "nothing twice, nothing left"
    assert main(asked) == 0 and "0 painted, 2 there already, 0 failed." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["--checkpoint", "no_such.ckpt"], "There is no file 'no_such.ckpt'"),
        (["--sampler", "eulr"], "no sampler 'eulr'"),
        (["--count", "0"], "--count is at least 1"),
        (["--seed", str(2**64 - 1)], "--seed is from 0 to"),
        (["--cfg", "nan"], "cfg is nan"),
        (["--steps", "0"], "steps is 0"),
        (["--out", str(PACK / "README.md")], "README.md is a file"),
        (["--strength", "3"], "strength is 3. Give a number from 0 to 2"),
        (["--out", "s3://bucket/out"], "a folder on this machine"),
        (["--prompts", "no_such.txt"], "There is no 'no_such.txt'"),
    ],
)  # fmt: skip
def test_what_is_asked_wrongly_is_a_sentence(asked, capsys, given, says):
    assert main([*asked, *given]) == 2
    assert says in capsys.readouterr().err


def test_a_file_that_is_none_is_told_by_the_exit_code(asked, tmp_path, capsys):
    for name in ("ann", "bob", "\u202ecat"):
        (tmp_path / f"people/{name}.safetensors").write_text("nothing")
    assert main([*asked, "--quiet"]) == 1
    said = capsys.readouterr()
    assert (
        said.err.count("  failed: ") == 3
        and "\u202e" not in said.err
        and not said.out
        and not painted(tmp_path / "out")
    )
