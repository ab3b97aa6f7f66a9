"""What all tests share: the host's modules in this process, a running server, a photo."""

from tools import host_modules  # noqa: F401, isort: skip  (before torch)

import gc
import shutil
from pathlib import Path

import anima_files
import pytest
import z_image_files
from prompts import FIRST_RELEASE
from skimage import data, io

from tools import random_checkpoint
from tools.comfy_server import ComfyServer
from tools.small_world import NODE_PACK

CHECKPOINT = "random_sd15.ckpt"
SUPPORT = Path(__file__).parent / "support"
# Nodes and routes for tests.
PACKS = [SUPPORT / name for name in ("encoder_counter", "out_of_memory", "says_anything", "small_sizes")]

LONGEST = "server", "miniworld", "browser", "command"


def pytest_collection_modifyitems(items):
    """The folders with the longest files first: who works on the last file works alone."""
    items.sort(key=lambda item: item.path.parent.name not in LONGEST)


def pytest_collection_finish():
    """The host collects all garbage whenever a model has gone, in tests every few moments: most of what it would look
    through are the modules, loaded by now, which stay."""
    gc.collect()
    gc.freeze()


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
    with ComfyServer(base, cpu=True, packs=PACKS) as running:
        yield running


@pytest.fixture(scope="session")
def z_image(server):
    """Z-Image's files, small, in the server's folders."""
    z_image_files.write(server.base / "models")


@pytest.fixture(scope="session")
def anima(server):
    """Anima's, likewise."""
    anima_files.write(server.base / "models")


@pytest.fixture(scope="session")
def painter(tmp_path_factory):
    """A running ComfyUI with the small painter, which learns and paints in a fraction of CHECKPOINT's time."""
    with ComfyServer(tmp_path_factory.mktemp("small_world"), cpu=True, packs=[NODE_PACK, *PACKS]) as running:
        yield running


@pytest.fixture(scope="session")
def first_personas(server):
    """The personas of the first release, in the server's folder: their names there by kind."""
    folder = server.base / "models/personas/first"
    folder.mkdir(parents=True)
    kinds = [file.stem for file in FIRST_RELEASE.glob("*.safetensors")]
    for kind in kinds:
        shutil.copy(FIRST_RELEASE / f"{kind}.safetensors", folder)
    return {kind: f"first/{kind}.safetensors" for kind in kinds}
