"""Makes ComfyUI's modules importable in this process, on the CPU. Import it before torch and comfy."""

import os

# OpenMP threads that spin while they wait make a busy machine crawl; read when torch is loaded.
os.environ.setdefault("GOMP_SPINCOUNT", "0")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from persona_core.host.start import start
from tools.environment import installed
from tools.launch_comfyui import define_missing_operators

define_missing_operators()
start(installed()["host"], ["--cpu"])
