"""Makes ComfyUI's modules importable in this process, on the CPU. Import it before torch and comfy."""

import os
import sys

# OpenMP threads that spin while they wait make a busy machine crawl; read when torch is loaded.
os.environ.setdefault("GOMP_SPINCOUNT", "0")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from tools.environment import installed
from tools.launch_comfyui import define_missing_operators

# Before the pack's folder, whose package `nodes` would hide ComfyUI's nodes.py.
sys.path.insert(0, installed()["host"])
define_missing_operators()

# As main.py does: nodes.py later puts ComfyUI's comfy/ folder, with a utils.py, first on the path.
import utils.extra_config  # noqa: F401
from comfy.cli_args import args

args.cpu = True  # read when comfy.model_management is first imported
