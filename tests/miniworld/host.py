"""Makes the host's modules importable in a script, as tests/conftest.py does for tests. Import it before comfy."""

import os
import sys
from pathlib import Path

# Before torch is loaded: OpenMP threads that spin while they wait make a busy machine crawl.
os.environ.setdefault("GOMP_SPINCOUNT", "0")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

if "comfy" not in sys.modules:
    sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))
    from launch_comfyui import define_missing_operators
    from setup import installed

    sys.path.insert(0, installed()["host"])
    define_missing_operators()
    import utils.extra_config  # noqa: F401
    from comfy.cli_args import args

    args.cpu = True
