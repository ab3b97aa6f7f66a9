"""Makes the host's modules importable in a script; in tests and on a server they are. Import it before comfy."""

import sys
from pathlib import Path

if "comfy" not in sys.modules:
    sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))
    import host_modules  # noqa: F401
