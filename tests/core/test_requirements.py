"""What an installation brings along, in the environment of an artist who has other packs."""

import re
from importlib.metadata import requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement

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


def test_both_places_say_the_same():
    tomllib = pytest.importorskip("tomllib")  # since Python 3.11
    project = tomllib.loads((PACK / "pyproject.toml").read_text())["project"]
    assert project["dependencies"] == re.sub("#.*", "", (PACK / "requirements.txt").read_text()).split()
    assert project["optional-dependencies"]["insightface"] == ["insightface>=2.0"]
