"""The command line itself: what it says without a ComfyUI, and of what is wrong."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace

import pytest

from persona_core.command.main import main
from persona_core.persona import Persona
from tools.environment import PACK, installed

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


IMPORTED = f"""
import importlib, pkgutil, sys
sys.path.append({str(PACK / "tools")!r})
import launch_comfyui
launch_comfyui.define_missing_operators()
from persona_core import command
from persona_core.host.start import start
start({installed()["host"]!r}, ["--cpu"])
for module in pkgutil.iter_modules(command.__path__):
    print(importlib.import_module(f"persona_core.command.{{module.name}}").__file__)
"""


def test_an_installation_has_the_command_and_all_that_it_needs(tmp_path):
    pytest.importorskip("setuptools")
    shutil.copytree(PACK / "persona_core", tmp_path / "pack/persona_core", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(PACK / name, tmp_path / "pack")
    site, options = tmp_path / "site", ("--quiet", "--no-deps", "--no-build-isolation")
    run = {"cwd": tmp_path, "capture_output": True, "text": True, "env": {**os.environ, "PYTHONPATH": str(site)}}
    pip = subprocess.run([sys.executable, "-m", "pip", "install", *options, "--target", site, "./pack"], **run)
    assert pip.returncode == 0, pip.stderr
    [command] = (site / ("Scripts" if os.name == "nt" else "bin")).glob("persona*")
    assert "--prompts" in subprocess.run([command, "paint", "--help"], **run).stdout
    imported = subprocess.run([sys.executable, "-c", IMPORTED], **run)
    files = [line for line in imported.stdout.splitlines() if line.endswith(".py")]
    assert imported.returncode == 0 and len(files) > 10, imported.stderr
    assert all(file.startswith(str(site)) for file in files)


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


def test_info_shows_a_value_on_one_line_whatever_is_in_it(tmp_path, capsys):
    persona = replace(
        Persona.load(FIRST), settings={"note\nname: bob": "\x1b[2J\u2028name: bob\u202e \U0001f469\u200d\U0001f52c"}
    )
    persona.save(tmp_path / "a\u202e.safetensors")
    (tmp_path / "b\u202e.safetensors").touch()
    assert main(["info", str(tmp_path)]) == 1
    said, wrong = capsys.readouterr()
    assert (
        not {"\x1b", "\u202e"} & set(said + wrong) and sum(line.startswith("name: ") for line in said.splitlines()) == 1
    )
    assert "note\\nname: bob: \\x1b[2J\\u2028name: bob\\u202e \U0001f469\u200d\U0001f52c\n" in said


def test_info_takes_folders_and_patterns_as_paint_does(tmp_path, capsys):
    shutil.copy(FIRST, tmp_path / "ann.safetensors")
    for place in (tmp_path, tmp_path / "*.safetensors"):
        assert main(["info", str(place)]) == 0 and "supercategory: " in capsys.readouterr().out
    (tmp_path / "empty").mkdir()
    assert main(["info", str(tmp_path / "empty")]) == 2 and "no persona in the folder" in capsys.readouterr().err


@pytest.mark.skipif(os.name == "nt", reason="no such pipes")
def test_whoever_has_read_enough_ends_it_quietly():
    read, write = os.pipe()
    os.close(read)
    ended = subprocess.run(
        [sys.executable, "-m", "persona_core", "info", FIRST], cwd=PACK, stdout=write, stderr=subprocess.PIPE, text=True
    )
    os.close(write)
    assert (ended.returncode, ended.stderr) == (141, "")


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


LEARN = "learn", "people.csv", "--checkpoint", "sd15.safetensors", "--out", "personas", "--comfyui", installed()["host"]


def hide(package: str, folder):
    """A folder for PYTHONPATH, with which Python does not have it."""
    (folder / f"{package}.py").write_text(f"raise ModuleNotFoundError('No module named {package}', name={package!r})")
    return {"PYTHONPATH": str(folder)}


def test_a_python_without_comfyuis_packages_is_told(tmp_path):
    ended = called(*LEARN, "--cpu", **hide("yaml", tmp_path))
    assert ended.returncode == 2 and ended.stderr.startswith("persona learn: The ComfyUI in ")
    assert "does not load: No module named yaml. Is " in ended.stderr and sys.executable in ended.stderr
    assert ended.stderr.count("\n") == 1 and "Traceback" in called(*LEARN, "--verbose", **hide("yaml", tmp_path)).stderr


def test_a_machine_without_a_gpu_is_told_how_to_go_on():
    ended = called(*LEARN, CUDA_VISIBLE_DEVICES="", HIP_VISIBLE_DEVICES="")
    assert ended.returncode == 2 and ended.stderr.rstrip().endswith("Without a GPU, it needs --cpu.")
    assert "Traceback" not in ended.stderr


def test_a_python_without_the_packs_packages_is_told(tmp_path):
    ended = called("info", FIRST, **hide("safetensors", tmp_path))
    assert ended.stderr == f"persona: {sys.executable} lacks safetensors. Use the Python that runs ComfyUI.\n"
    assert ended.returncode == 2
