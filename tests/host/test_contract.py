"""What the pack needs of this host is there, is called as it wants to be called, and gives what it should.

On a host that changed something, this says in a sentence what: `make contract COMFYUI_PATH=...` runs it alone.
"""

import ast
import functools
import json
import pkgutil
import sys
from importlib.util import find_spec

import comfyui_version
import pack
import pytest
from host_answers import GIVES
from host_objects import Given

from persona_core.host import contract
from persona_core.host.contract import CONTRACT, HOST, Need
from persona_core.host.needs_alone import ALONE
from tools.environment import PACK


@pytest.mark.parametrize("need", (*CONTRACT, *ALONE), ids=lambda need: need.name)
def test_the_name_is_there_and_takes_what_it_is_given(need):
    assert contract.problem_with(need) is None


@pytest.fixture(scope="module")
def given():
    return Given()


def test_all_that_names_give_is_checked():
    assert set(GIVES) == {need.name for need in CONTRACT if need.gives}


@pytest.mark.parametrize("need", [need for need in CONTRACT if need.gives], ids=lambda need: need.name)
def test_the_name_gives_what_it_should(need, given):
    assert GIVES[need.name](given), f"{need.name} no longer gives: {need.gives}"


def used_names(source: str) -> set[str]:
    """The host's names that a module uses, as the contract writes them."""
    tree, modules, used = ast.parse(source), {}, set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for one in node.names:
                if one.name.partition(".")[0] in HOST:
                    modules[one.asname or one.name] = one.name + ":"
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module.partition(".")[0] in HOST:
            for one in node.names:
                is_module = (
                    find_spec(f"{node.module}.{one.name}") if hasattr(sys.modules[node.module], "__path__") else None
                )
                name = f"{node.module}.{one.name}:" if is_module else f"{node.module}:{one.name}"
                modules[one.asname or one.name] = name
                used.add(name.rstrip(":"))
        elif isinstance(node, ast.Assign) and (place := ast.unparse(node.value)) in modules:
            modules[ast.unparse(node.targets[0])] = modules[place]
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            chain = ast.unparse(node).partition("(")[0]
            for local, name in modules.items():
                if chain.startswith(local + "."):
                    used.add((name + "." if not name.endswith(":") else name) + chain.removeprefix(local + "."))
    return {name for name in used if ":" in name}


FILES = [PACK / "__init__.py", *sorted((PACK / "nodes").glob("*.py")), *sorted((PACK / "persona_core").rglob("*.py"))]


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACK)))
def test_no_name_of_the_host_is_used_that_the_contract_does_not_have(file):
    known = {need.name for need in (*CONTRACT, *ALONE)}
    forgotten = {
        name
        for name in used_names(file.read_text())
        if not any(one == name or one.startswith(f"{name}.") or name.startswith(f"{one}.") for one in known)
    }
    assert forgotten == set()


def test_what_is_used_is_found():
    source = (
        "import comfy.sd\nfrom comfy.utils import ProgressBar\ncomfy.sd.CLIP.clone\nmanager = comfy.sd\nmanager.VAE"
    )
    assert used_names(source) == {"comfy.utils:ProgressBar", "comfy.sd:CLIP", "comfy.sd:CLIP.clone", "comfy.sd:VAE"}


@pytest.mark.parametrize(
    ("name", "takes", "says"),
    [
        ("comfy.sd:CLIP.no_such", None, "comfy.sd:CLIP.no_such is missing"),
        ("comfy.no_such:anything", None, "comfy.no_such:anything is missing"),
        (
            "comfy.sd:CLIP.clip_layer", "layer, another",
            "comfy.sd:CLIP.clip_layer takes (self, layer_idx), and no longer (layer, another)",
        ),
        (
            "comfy.model_management:soft_empty_cache", "force, of_no_such_name=",
            "comfy.model_management:soft_empty_cache takes (force=False), and no longer (force, of_no_such_name=)",
        ),
        ("comfy.model_management:current_loaded_models", "", "comfy.model_management:current_loaded_models cannot be called"),
    ],
)  # fmt: skip
def test_what_a_host_changed_is_a_sentence(name, takes, says):
    assert contract.problem_with(Need(name, takes)) == says


@pytest.mark.parametrize(
    "name", ["comfy.patcher_extension:WrappersMP.CALC_COND_BATCH", "comfy.hooks:HookGroup", "comfy.sample:sample"]
)
def test_where_a_name_is_missing_the_nodes_show_up_and_say_so(monkeypatch, name):
    place, _, attribute = name.replace(":", ".").rpartition(".")
    monkeypatch.delattr(pkgutil.resolve_name(place), attribute)
    loaded = pack.load()
    usual = json.loads((PACK / "nodes/described.json").read_text())
    assert loaded.NODE_CLASS_MAPPINGS.keys() == loaded.NODE_DISPLAY_NAME_MAPPINGS.keys() == usual.keys()
    for node in loaded.NODE_CLASS_MAPPINGS.values():
        with pytest.raises(RuntimeError) as ended:
            getattr(node(), node.FUNCTION)(anything=1)
        assert str(ended.value).startswith(
            f"ComfyUI-Persona cannot run in this ComfyUI ({comfyui_version.__version__}): {name}"
        )
        assert "update ComfyUI" in str(ended.value)


def test_a_name_that_the_contract_forgot(monkeypatch):
    monkeypatch.setattr(contract_of := pack.load("forgotten").persona_core.host.contract, "CONTRACT", ())
    assert contract_of.why_not() is None
    why = contract_of.why_not(ImportError("cannot import name 'EPS'", name="comfy.model_sampling"))
    assert "cannot import name 'EPS'" in why and comfyui_version.__version__ in why


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("method", ["comfy.model_patcher:ModelPatcher.__init__", "comfy.samplers:CFGGuider.sample"])
def test_another_packs_function_in_the_place_of_the_hosts_is_no_reason(monkeypatch, method, wrapped):
    place, _, name = method.rpartition(".")
    owner = pkgutil.resolve_name(place)
    own = getattr(owner, name)

    def theirs(self, *args, **kwargs):
        return own(self, *args, **kwargs)

    monkeypatch.setattr(owner, name, functools.wraps(own)(theirs) if wrapped else theirs)
    assert contract.broken() == []


def test_an_error_that_is_not_of_the_host_is_told_as_it_is():
    why = contract.why_not(OSError("libGL.so.1: cannot open shared object file"))
    assert (
        why
        == "ComfyUI-Persona could not be loaded (OSError: libGL.so.1: cannot open shared object file). The log says more."
    )


def test_a_python_package_that_is_missing_is_said_otherwise():
    why = contract.why_not(ModuleNotFoundError("No module named 'skimage.feature'", name="skimage.feature"))
    assert "package 'skimage' is not installed" in why and "pip install -r requirements.txt" in why
