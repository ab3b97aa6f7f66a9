"""comfy-test, the public checks of node packs, on what is published: its levels that need no network of their own.

It attaches to a server of ours that has the published files as its only node pack, and is installed beside it, in
.comfyui/comfy-test. Left out are those that read workflows: its reader takes the value behind a seed for the next
widget's, with the host's own KSampler too; and coverage, which does not know nodes that ComfyUI asks for by an entry
point. Our own tests open, check and run every workflow.
"""

import os
import subprocess
import sys
from pathlib import Path

from tools.comfy_server import ComfyServer
from tools.environment import installed
from tools.published import PACK, copy_to

VERSION = "0.4.15"
BASE, SITE = PACK / ".comfyui/published", PACK / ".comfyui/comfy-test"
OWN = "custom_nodes", "models", "input", "output", "temp", "user"
CONFIG = """[test]
levels = ["syntax", "javascript", "install", "registration", "instantiation"]
[test.platforms]
platforms = ["linux-cpu"]
[test.workflows]
cpu = "all"
"""


def main() -> int:
    if not (SITE / f"comfy_test-{VERSION}.dist-info").exists():
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(SITE), f"comfy-test=={VERSION}"]
        subprocess.run(command, check=True)
    host = Path(installed()["host"])
    BASE.mkdir(parents=True, exist_ok=True)
    for part in host.iterdir():  # comfy-test looks for ComfyUI's code around the node pack
        if part.name not in OWN and not (BASE / part.name).exists():
            (BASE / part.name).symlink_to(part)
    pack = copy_to(BASE / "custom_nodes")
    (pack / "comfy-test.toml").write_text(CONFIG)
    environment = {**os.environ, "PYTHONPATH": str(SITE), "COMFY_TEST_LOGS_DIR": str(BASE / "logs")}
    with ComfyServer(BASE, linked=False) as server:
        run = [sys.executable, "-m", "comfy_test", "run", "--server-url", server.url, *sys.argv[1:]]
        return subprocess.run(run, cwd=pack, env=environment).returncode


if __name__ == "__main__":
    sys.exit(main())
