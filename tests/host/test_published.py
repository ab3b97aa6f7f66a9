"""What an installation from the registry holds, and what its scanners look for."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tools.published import PACK, copy_to, published

# What the registry's scanners flag, as it stands in files.
FLAGGED = (
    r"\.connect\(", r"\.bind\(", r"\.send\(", r"\bsubprocess\b", r"os\.environ\.get\(", r"importlib\.import_module",
    r"\bClientSession\b", r"\beval\b", r"\bexec\(", r"torch\.load\(",
)  # fmt: skip


def test_it_is_small_and_holds_what_runs_and_nothing_else():
    files = published()
    assert sum((PACK / file).stat().st_size for file in files) < 2_000_000
    assert {file.parts[0] for file in files} == {
        "LICENSE", "README.md", "__init__.py", "locales", "nodes", "persona_core", "pyproject.toml", "requirements.txt",
        "subgraphs", "web", "workflows",
    }  # fmt: skip
    helped = {file.stem for file in files if file.parts[:2] == ("web", "docs")}
    assert helped == set(json.loads((PACK / "nodes/described.json").read_text()))


def test_nothing_in_it_is_what_scanners_flag():
    texts = {file: (PACK / file).read_text() for file in published() if file.suffix != ".jpg"}
    found = [(str(file), one) for file, text in texts.items() for one in FLAGGED if re.search(one, text)]
    assert len(texts) > 50 and not found


def test_it_opens_no_connection_starts_nothing_and_adds_one_question_to_the_server():
    files = {file: (PACK / file).read_text() for file in published() if file.suffix in (".py", ".js")}
    python = "\n".join(text for file, text in files.items() if file.suffix == ".py")
    asked = re.findall(
        r"^\s*(?:import|from) (socket|ssl|http|urllib|requests|aiohttp|multiprocessing|pickle|ctypes)\b", python, re.M
    )
    starts = "from multiprocessing import get_start_method, set_start_method"  # which only ask, and put back
    assert sorted(asked) == ["aiohttp", "multiprocessing"] and starts in python
    assert re.findall(r"\broutes\.\w+\(", python) == ["routes.get("]
    scripts = "\n".join(text for file, text in files.items() if file.suffix == ".js")
    assert "api.fetchApi(" in scripts and not re.search(
        r"\bfetch\(|XMLHttpRequest|WebSocket|sendBeacon|//\w+\.\w+/", scripts
    )
    assert "textContent" in scripts and not re.search(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write", scripts
    )


def test_a_copy_of_it_alone_registers_all_nodes(tmp_path):
    """In a ComfyUI that knows nothing of the rest of the repository."""
    pack = copy_to(tmp_path)
    says = """
import sys
sys.path.insert(0, sys.argv[2])
from tools import host_modules
import asyncio, json
sys.path.remove(sys.argv[2])
import nodes
assert asyncio.run(nodes.load_custom_node(sys.argv[1]))
print("NODES", json.dumps(sorted(name for name, one in nodes.NODE_CLASS_MAPPINGS.items() if "Persona" in getattr(one, "RELATIVE_PYTHON_MODULE", ""))))
"""
    command = [sys.executable, "-c", says, str(pack), str(PACK)]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    named = [line for line in ended.stdout.splitlines() if line.startswith("NODES ")]
    assert named, ended.stderr
    assert json.loads(named[0].removeprefix("NODES ")) == sorted(
        json.loads((PACK / "nodes/described.json").read_text())
    )


def test_the_registry_is_told_all_it_asks_for():
    tomllib = pytest.importorskip("tomllib")  # since Python 3.11
    told = tomllib.loads((PACK / "pyproject.toml").read_text())
    project, comfy = told["project"], told["tool"]["comfy"]
    assert (
        re.fullmatch(r"\d+\.\d+\.\d+", project["version"])
        and f"## {project['version']}" in (PACK / "CHANGELOG.md").read_text()
    )
    assert {"Repository", "Documentation", "Issues"} <= set(project["urls"]) and project["classifiers"]
    assert {"PublisherId", "DisplayName", "Icon", "Banner", "requires-comfyui"} <= set(comfy)
    for name in ("Icon", "Banner"):
        drawn = PACK / comfy[name].split("/main/")[1]
        width, height = map(int, re.search(r'width="(\d+)" height="(\d+)"', drawn.read_text()).groups())
        assert (width, height) == (400, 400) if name == "Icon" else width / height == 21 / 9
    assert Path(PACK / "SECURITY.md").exists()
