"""Run ComfyUI's main.py on a torch whose torchvision came without its compiled operators.

Usage: python launch_comfyui.py COMFYUI/main.py [ComfyUI's own arguments]
"""

import runpy
import sys
from pathlib import Path

import torch

# torchvision describes these two while it is imported and fails where its compiled library does not
# load (a CUDA build beside a CPU torch). Nothing in ComfyUI calls them, so a signature is enough.
SIGNATURES = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_libraries = []  # an operator lives as long as the library object that defined it


def define_missing_operators() -> None:
    """Make `import torchvision` work; does nothing where it works already."""
    try:
        import torchvision  # noqa: F401
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]  # half imported
        library = torch.library.Library("torchvision", "FRAGMENT")
        for signature in SIGNATURES:
            if not hasattr(torch.ops.torchvision, signature.split("(")[0]):
                library.define(signature)
        _libraries.append(library)
    except ImportError:
        pass  # ComfyUI says by itself what it misses


if __name__ == "__main__":
    define_missing_operators()
    sys.argv = sys.argv[1:]
    sys.path[0] = str(Path(sys.argv[0]).resolve().parent)
    runpy.run_path(sys.argv[0], run_name="__main__")
