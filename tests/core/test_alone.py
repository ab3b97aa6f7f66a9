"""The core knows nothing of ComfyUI: it is imported where there is none, and in its modules nobody asks for it."""

import ast
import subprocess
import sys
from pathlib import Path

PACK = Path(__file__).resolve().parents[2]
OTHERS = {"host", "command"}
CORE = [file for file in (PACK / "persona_core").rglob("*.py") if not OTHERS & set(file.relative_to(PACK).parts[:-1])]
CORE.remove(PACK / "persona_core/__main__.py")
HOSTS = {"comfy", "comfy_api", "comfy_execution", "comfy_extras", "folder_paths", "nodes", "server"}


def test_it_is_imported_without_a_comfyui():
    names = [".".join(file.relative_to(PACK).with_suffix("").parts).removesuffix(".__init__") for file in CORE]
    code = f"import sys, importlib\nfor name in {names!r}: importlib.import_module(name)\nprint(*sys.modules)"
    ended = subprocess.run([sys.executable, "-c", code], cwd=PACK, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    loaded = set(ended.stdout.split())
    assert len(names) > 15 and set(names) <= loaded and not loaded & HOSTS
    assert not [name for name in loaded if name.startswith("persona_core.host")]


def test_imports_go_one_way():
    """nodes, command -> persona_core/host -> persona_core; learning and applying ask nothing of each other."""
    wrong = []
    for file in [*(PACK / "persona_core").rglob("*.py"), *(PACK / "nodes").glob("*.py")]:
        here = file.relative_to(PACK).with_suffix("").parts
        for node in ast.walk(ast.parse(file.read_text())):
            if not isinstance(node, ast.ImportFrom) or not node.level:
                continue
            package = here[: len(here) - node.level + (file.name == "__init__.py") * 0]
            to = (*package, *(node.module or "").split("."))
            if not allowed(here, tuple(part for part in to if part)):
                wrong.append((".".join(here), ".".join(to)))
    assert not wrong


def allowed(here: tuple[str, ...], to: tuple[str, ...]) -> bool:
    inner, outer = room(here), room(to)
    if {inner, outer} in ({"learn", "apply"}, {"nodes", "command"}):
        return False
    order = "core", "host", "learn", "nodes"
    rank = {"apply": 2, "command": 3, **{name: number for number, name in enumerate(order)}}
    return rank[inner] >= rank[outer]


def room(module: tuple[str, ...]) -> str:
    if module[0] == "nodes":
        return "nodes"
    if "command" in module or module[-1] == "__main__":
        return "command"
    if "host" not in module:
        return "core"
    return next((one for one in ("learn", "apply") if one in module), "host")


def test_no_module_is_too_long_to_be_read_in_one_sitting():
    folders = "nodes", "persona_core", "miniworld", "bench", "tools", "tests"
    long = {
        str(file.relative_to(PACK)): count
        for folder in folders
        for file in (PACK / folder).rglob("*.py")
        if (count := len(file.read_text().splitlines())) > 300
    }
    assert not long
