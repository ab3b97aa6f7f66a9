"""The command `persona` with the ComfyUI of `make setup`: python -m tools.persona learn ..."""

import os
import sys

os.environ.setdefault("GOMP_SPINCOUNT", "0")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from persona_core.command.main import main
from tools.environment import installed
from tools.launch_comfyui import define_missing_operators

if __name__ == "__main__":
    os.environ.setdefault("COMFYUI_PATH", installed()["host"])
    define_missing_operators()
    sys.exit(main())
