"""What an installation brings along, in the environment of an artist who has other packs."""

import json
import os
import re
import subprocess
import sys
from importlib.metadata import requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from persona_core.provenance import VERSION

PACK = Path(__file__).resolve().parents[2]


def brought_along(names: set[str]) -> set[str]:
    """Those packages and all that they require, as they are installed here."""
    found, wanted = set(), set(names)
    while wanted:
        name = wanted.pop()
        found.add(name)
        for line in requires(name) or ():
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                wanted |= {requirement.name.lower()} - found
    return found


def test_an_onnxruntime_gpu_or_another_opencv_is_left_alone():
    """Plain onnxruntime and opencv-python, which insightface brings, overwrite them."""
    lines = re.sub("#.*", "", (PACK / "requirements.txt").read_text()).split()
    brought = brought_along({Requirement(line).name for line in lines})
    assert "scikit-image" in brought
    assert not [name for name in brought if name.startswith(("onnxruntime", "opencv", "insightface", "torch"))]


def test_pip_would_install_no_onnxruntime_and_nothing_that_is_there(tmp_path):
    """As ComfyUI Manager installs the pack, into an environment that has an onnxruntime-gpu, and into an empty one."""
    there = tmp_path / "onnxruntime_gpu-1.20.0.dist-info"
    there.mkdir()
    (there / "METADATA").write_text("Metadata-Version: 2.1\nName: onnxruntime-gpu\nVersion: 1.20.0\n")
    (there / "INSTALLER").write_text("pip\n")
    (there / "RECORD").write_text("")
    beside, empty = would_install(tmp_path), would_install(tmp_path, "--ignore-installed")
    assert beside <= {"scikit-image"} and "scikit-image" in empty
    assert not [name for name in empty if name.startswith(("onnxruntime", "opencv", "insightface", "torch"))]


def would_install(beside: Path, *options: str) -> set[str]:
    """The packages that pip says it would install. beside: a folder of packages that are there too."""
    report = beside / "report.json"
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--quiet", "--report", str(report), *options]
    ended = subprocess.run(
        [*command, "-r", str(PACK / "requirements.txt")],
        env={**os.environ, "PYTHONPATH": str(beside)}, capture_output=True, text=True,
    )  # fmt: skip
    if "No matching distribution found for scikit-image" in ended.stderr:
        pytest.skip("pip reaches no package index")
    assert ended.returncode == 0, ended.stderr
    return {one["metadata"]["name"] for one in json.loads(report.read_text())["install"]}


def test_both_places_say_the_same():
    tomllib = pytest.importorskip("tomllib")  # since Python 3.11
    project = tomllib.loads((PACK / "pyproject.toml").read_text())["project"]
    assert project["dependencies"] == re.sub("#.*", "", (PACK / "requirements.txt").read_text()).split()
    assert project["optional-dependencies"]["insightface"] == ["insightface>=2.0"]


def test_the_core_knows_its_version_without_the_packs_folder():
    tomllib = pytest.importorskip("tomllib")
    assert tomllib.loads((PACK / "pyproject.toml").read_text())["project"]["version"] == VERSION
