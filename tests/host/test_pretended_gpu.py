"""Learning and painting on a pretended GPU, in a process of its own: see pretended_gpu/conftest.py."""

import os
import subprocess
import sys
from pathlib import Path


def test_all_runs_on_a_pretended_gpu():
    folder = Path(__file__).with_name("pretended_gpu")
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(folder)],
        cwd=folder.parents[2], env={**os.environ, "PRETENDED_GPU": "1"}, capture_output=True, text=True, timeout=500,
    )  # fmt: skip
    assert ended.returncode == 0 and "passed" in ended.stdout, ended.stdout[-5000:] + ended.stderr[-2000:]
