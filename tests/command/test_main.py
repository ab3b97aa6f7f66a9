"""The command line itself: what it says without a ComfyUI, and of what is wrong."""

import json
import os
import pkgutil
import subprocess
import sys

import pytest

from persona_core.command.main import main
from tools.environment import PACK

FIRST = PACK / "tests/first_release/stage_mapper.safetensors"


def called(*arguments, **env) -> subprocess.CompletedProcess:
    """In a process that knows no ComfyUI, from the pack's folder."""
    own = {name: value for name, value in os.environ.items() if name not in ("COMFYUI_PATH", "PWD", "PYTHONPATH")}
    command = [sys.executable, "-m", "persona_core", *map(str, arguments)]
    return subprocess.run(command, cwd=PACK, capture_output=True, text=True, env={**own, **env})


def test_help_needs_neither_torch_nor_a_comfyui():
    code = "import sys, persona_core.command.main as one\ntry: one.main(['learn', '--help'])\nexcept SystemExit: print(*sys.modules)"
    ended = subprocess.run([sys.executable, "-c", code], cwd=PACK, capture_output=True, text=True)
    assert "--checkpoint" in ended.stdout and not {"torch", "comfy", "numpy"} & set(ended.stdout.split())


def test_an_installation_has_the_command():
    tomllib = pytest.importorskip("tomllib")  # since Python 3.11
    named = tomllib.loads((PACK / "pyproject.toml").read_text())["project"]["scripts"]
    assert pkgutil.resolve_name(named["persona"]) is main


def test_info_shows_what_persona_info_shows_without_a_comfyui(tmp_path):
    (tmp_path / "bad.safetensors").write_text("nothing")
    ended = called("info", "--json", FIRST, tmp_path / "bad.safetensors")
    told = json.loads(ended.stdout)
    assert ended.returncode == 1 and "bad.safetensors" in ended.stderr and "Traceback" not in ended.stderr
    assert told["file"] == str(FIRST) and told["supercategory"] and told["learned for"].startswith("SD1")


def test_info_of_several_is_headed_by_their_files(capsys):
    assert main(["info", str(FIRST), str(FIRST)]) == 0
    said = capsys.readouterr().out
    assert said.count(f"{FIRST}:\n") == 2 and "supercategory: " in said


def test_without_a_comfyui_it_says_how_to_name_one(tmp_path):
    asked = "learn", "people.csv", "--out", tmp_path, "--checkpoint", "x"
    ended = called(*asked)
    assert ended.returncode == 2 and "--comfyui" in ended.stderr and "Traceback" not in ended.stderr
    ended = called(*asked, COMFYUI_PATH=str(tmp_path))
    assert ended.returncode == 2 and "no main.py" in ended.stderr


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["--checkpoint", "no_such.safetensors"], "There is no file 'no_such.safetensors'"),
        (["--checkpoint", str(FIRST)], "cannot be loaded"),
        (["--checkpoint", "x", "--prompts", "prompts.txt"], "--prompts is for --score"),
        (["--checkpoint", "x", "--set", "steps"], "no NAME=VALUE"),
        (["--checkpoint", "x", "--set", "stepps=5"], "'stepps'"),
        (["--checkpoint", "x", "--set", "steps=many"], "not a whole number"),
        (["--checkpoint", "x", "--out", str(FIRST)], "Name a folder"),
        (["--checkpoint", "x", "--results", str(FIRST)], "no table of results"),
        (["--checkpoint", "x", "--at-once", "0"], "at least 1"),
        (["--checkpoint", "x", "--diffusion-model", "x"], "Say which --checkpoint"),
        (["--diffusion-model", "x", "--text-encoder", "y"], "Say which --checkpoint"),
    ],
)  # fmt: skip
def test_what_is_asked_wrongly_is_a_sentence(people, tmp_path, capsys, given, says):
    assert main(["learn", str(people({"id": "ann"})), "--out", str(tmp_path / "out"), *given]) == 2
    assert says in capsys.readouterr().err and not (tmp_path / "out").exists()
