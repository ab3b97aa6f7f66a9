"""What all tests share: the host's modules in this process, a running server, a photo."""

import os
import sys

# Before torch is loaded: OpenMP threads that spin while they wait make a busy machine crawl.
os.environ.setdefault("GOMP_SPINCOUNT", "0")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import pytest
import random_checkpoint
from comfy_server import ComfyServer
from launch_comfyui import define_missing_operators
from setup import installed
from skimage import data, io

# Before the pack's folder, whose package `nodes` would hide ComfyUI's nodes.py.
sys.path.insert(0, installed()["host"])
define_missing_operators()

# As main.py does: nodes.py later puts ComfyUI's comfy/ folder, with a utils.py, first on the path.
import utils.extra_config  # noqa: F401
from comfy.cli_args import args

args.cpu = True  # read when comfy.model_management is first imported, by a test

CHECKPOINT = "random_sd15.ckpt"


@pytest.fixture(scope="session")
def photo(tmp_path_factory):
    """Path of a PNG of a real face: Eileen Collins, NASA's portrait (512 x 512)."""
    path = tmp_path_factory.mktemp("photo") / "astronaut.png"
    io.imsave(path, data.astronaut(), check_contrast=False)
    return path


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """A running ComfyUI with the pack and the small random checkpoint CHECKPOINT."""
    base = tmp_path_factory.mktemp("comfy")
    random_checkpoint.build(base / "models/checkpoints" / CHECKPOINT)
    with ComfyServer(base, cpu=True) as running:
        yield running
