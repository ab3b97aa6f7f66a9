"""The command `persona` with the ComfyUI of `make setup`: python -m tools.persona learn ..."""

import os
import sys

os.environ.setdefault("GOMP_SPINCOUNT", "0")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from persona_core.command import learn
from persona_core.command.main import main
from persona_core.command.plan import Plan
from tools.environment import installed
from tools.launch_comfyui import define_missing_operators


class Mended(Plan):
    """A plan for processes that start from nothing, as Ray's."""

    def learner(self):
        define_missing_operators()
        return super().learner()


if __name__ == "__main__":
    os.environ.setdefault("COMFYUI_PATH", installed()["host"])
    define_missing_operators()
    learn.Plan = Mended
    sys.exit(main())
