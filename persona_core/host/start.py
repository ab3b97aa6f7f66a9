"""Makes a ComfyUI's modules importable in this process, with what its main.py sees to before anything is loaded.

To be called before any other module of `host` is imported, and better before torch is.
"""

import logging
import os
import sys
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

log = logging.getLogger(__name__)
VARIABLE = "COMFYUI_PATH"
PACK = Path(__file__).absolute().parents[2]


class NoComfyUI(RuntimeError):
    """There is none, none is where it was said to be, or it does not load with this Python, on this machine."""


def start(comfyui: str = "", options: Sequence[str] = ()) -> None:
    """comfyui: its folder; "": as `find` says. options: of its own, as on its command line. In a process that has a
    ComfyUI already, nothing is done. Raises NoComfyUI, and SystemExit for options that it does not know."""
    if "comfy.cli_args" in sys.modules:
        return
    host = find(comfyui)
    try:
        load(host, options)
    except Exception as error:  # of any package that ComfyUI imports
        log.info("ComfyUI does not load.", exc_info=True)
        reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        gpu = "" if "--cpu" in options else " Without a GPU, it needs --cpu."
        raise NoComfyUI(
            f"The ComfyUI in {host} does not load: {reason}. Is {sys.executable} the Python that runs it?{gpu}"
        ) from error


def load(host: Path, options: Sequence[str]) -> None:
    """Import it. Whatever this raises says what is the matter with it, or with this Python."""
    sys.path.insert(0, str(host))  # before the pack's folder, whose package `nodes` would hide ComfyUI's nodes.py
    read_options(host, options)
    # As main.py does, before nodes.py puts ComfyUI's comfy/ folder, with a utils.py, first on the path.
    from comfy.cli_args import args
    from utils.extra_config import load_extra_path_config

    if args.cuda_device not in (None, "all"):
        os.environ["CUDA_VISIBLE_DEVICES"] = os.environ["HIP_VISIBLE_DEVICES"] = str(args.cuda_device)
    if "torch" not in sys.modules:  # which would stop at a change of mind
        import cuda_malloc  # noqa: F401  (chooses how a GPU's memory is given out)

    usual = host / "extra_model_paths.yaml"
    for file in [*([usual] if usual.is_file() else []), *chain(*(args.extra_model_paths_config or ()))]:
        load_extra_path_config(str(file))
    import comfy.sd  # noqa: F401  (asks for the GPU, and imports what most of ComfyUI needs)


def find(comfyui: str = "") -> Path:
    """The folder that is named, or COMFYUI_PATH names, or in whose custom_nodes the pack lies. Raises NoComfyUI."""
    named = comfyui or os.getenv(VARIABLE, "")
    if named:
        host = Path(named).expanduser().absolute()
        if not is_comfyui(host):
            raise NoComfyUI(f"{host} is no ComfyUI: it has no main.py and no folder comfy.")
        return host
    # Not PACK alone: a pack that is linked into custom_nodes is found by the place it is called from.
    for pack in (Path(os.getenv("PWD", ".")).absolute(), PACK):
        if pack.parent.name == "custom_nodes" and is_comfyui(host := pack.parent.parent):
            return host
    raise NoComfyUI(f"No ComfyUI was found. Say in which folder it is, with --comfyui or in {VARIABLE}.")


def is_comfyui(folder: Path) -> bool:
    return (folder / "main.py").is_file() and (folder / "comfy").is_dir()


def read_options(host: Path, options: Sequence[str]) -> None:
    """Have ComfyUI read its options from here instead of this process's command line."""
    from comfy.options import enable_args_parsing

    enable_args_parsing()
    own, sys.argv = sys.argv, [str(host / "main.py"), *options]
    try:
        import comfy.cli_args  # noqa: F401
    finally:
        sys.argv = own
        enable_args_parsing(False)
