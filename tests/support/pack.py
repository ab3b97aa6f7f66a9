"""The whole pack loaded in this process, as the host loads it: a package of another name, with its nodes."""

import importlib.util
import sys
from types import ModuleType

from tools.environment import PACK


def load(name: str = "loaded_pack") -> ModuleType:
    """A fresh copy of the pack's package; `load("x").nodes.apply` is one of its modules."""
    for module in [one for one in sys.modules if one.split(".")[0] == name]:
        del sys.modules[module]
    spec = importlib.util.spec_from_file_location(name, PACK / "__init__.py", submodule_search_locations=[str(PACK)])
    sys.modules[name] = package = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(package)
    return package
