"""The host on a machine with the pretended GPU, and models of which each part is where a test wants it."""

import os

import comfy.model_management
import pytest
import tiny_models
import torch

from persona_core.host.learn.run import TrainingJob

# torch's autograd counts devices once, when it first runs: these tests need a process in which nothing else has run.
# tests/host/test_pretended_gpu.py starts it.
collect_ignore_glob = [] if os.environ.get("PRETENDED_GPU") else ["test_*.py"]

CPU = torch.device("cpu")
PLENTY = 2**33  # bytes


@pytest.fixture
def gpu(monkeypatch, gpu_memory):
    """The device; models are offloaded to the CPU, as on most machines."""
    fake_device = pytest.importorskip("fake_device", reason="torch is too old", exc_type=ImportError)
    manager = comfy.model_management
    monkeypatch.setattr(manager, "get_torch_device", lambda: fake_device.DEVICE)
    monkeypatch.setattr(
        manager, "get_total_memory", lambda *_, torch_total_too=False: (PLENTY, PLENTY) if torch_total_too else PLENTY
    )
    monkeypatch.setattr(manager, "vram_state", manager.VRAMState.NORMAL_VRAM)
    with fake_device.behaving() as device:
        yield device
    manager.unload_all_models()


@pytest.fixture
def gpu_memory(monkeypatch):
    """Sets how many bytes are free on the GPU; on the CPU there are plenty."""

    def set_free(size: int) -> None:
        def get_free_memory(device=None, torch_free_too=False):
            free = PLENTY if device == CPU else size
            return (free, free) if torch_free_too else free

        monkeypatch.setattr(comfy.model_management, "get_free_memory", get_free_memory)

    set_free(PLENTY)
    return set_free


@pytest.fixture
def make_job(gpu, photo, monkeypatch):
    """A job of models that compute on the GPU, but for those that are named in on_cpu: "model", "clip"."""

    def make(recipe, family="sd1", on_cpu=(), **more) -> TrainingJob:
        manager = comfy.model_management
        device = manager.get_torch_device()
        flow = getattr(tiny_models, family, None)
        model = flow(**more) if flow else tiny_models.model(sdxl=family == "sdxl", **more)
        model.load_device = CPU if "model" in on_cpu else device
        monkeypatch.setattr(manager, "text_encoder_device", lambda: CPU if "clip" in on_cpu else device)
        return TrainingJob("ann", model, tiny_models.clip(family), tiny_models.vae(), [photo, photo.mirrored()], recipe)

    return make
