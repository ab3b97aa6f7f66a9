"""A server that learns many personas: what one leaves behind, fifty would."""

import sys
from pathlib import Path

import pytest
import small_files
import z_image_files
from prompts import CHECKPOINT, only, run_all, with_z_image, workflow

from tools import random_checkpoint
from tools.comfy_server import ComfyServer

FIRST, ALL = 10, 50  # personas
SLACK = 30  # MB: it was found to grow by 2 to 17, and by 42 where 1 MB of each persona was kept
LEAST = {"steps": 1, "batch_size": 1, "tokens": 1, "te_weight": 0.0, "crop_to_face": False, "reuse": False}
MORE = {"batch_size": 3, "resolution": 128}  # the least for which learning finds out first how much memory it takes


@pytest.fixture
def frugal(tmp_path, photo):
    """A server that gives every larger piece of memory back at once: else what stays hides in gaps between pieces."""
    random_checkpoint.build(tmp_path / "models/checkpoints" / CHECKPOINT)
    z_image_files.write(tmp_path / "models")
    with ComfyServer(tmp_path, cpu=True, packs=[small_files.SIZES], env={"MALLOC_MMAP_THRESHOLD_": "65536"}) as server:
        server.upload_image(photo, "photo.png")
        yield server


def learn(number: int, family: str) -> dict:
    """A prompt that only learns, as little as can be; every tenth MORE."""
    inputs = {"name": f"many_{number}", "train_seed": number, **LEAST, **(MORE if number % 10 == 9 else {})}
    prompt = only(workflow(changes={"PersonaLearn": inputs}), "PersonaLearn")
    return with_z_image(prompt) if family == "Z-Image" else prompt


def resident(server) -> float:
    """MB of memory that the server's process has."""
    status = Path(f"/proc/{server.process.pid}/status").read_text().splitlines()
    return int(next(line.split()[1] for line in status if line.startswith("VmRSS:"))) / 1024


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("family", ["SD1.5", pytest.param("Z-Image", marks=pytest.mark.slow)])
def test_learning_many_personas_does_not_make_a_server_grow(frugal, family):
    run_all(frugal, [learn(number, family) for number in range(FIRST)])
    before = resident(frugal)
    run_all(frugal, [learn(number, family) for number in range(FIRST, ALL)])
    assert len(list((frugal.base / "models/personas").glob("many_*.safetensors"))) == ALL
    assert resident(frugal) < before + SLACK
