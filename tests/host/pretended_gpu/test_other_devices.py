"""Devices that can do less than CUDA's: each is asked what it can, or does without."""

import ast
from functools import partial
from pathlib import Path

import fake_device
import jobs
import pytest
import torch
from looking import painted

import persona_core
from persona_core import preview as pace
from persona_core.host.learn import in_memory, memory, preview
from persona_core.host.learn.memory import Fit, out_of_memory
from persona_core.host.learn.run import train_persona
from persona_core.host.learn.unfinished import load_progress
from persona_core.recipes import KVTokensRecipe, StageMapperRecipe
from persona_core.task import TrainingSettings

PRINT = "fingerprint"
learned = partial(jobs.learned, fingerprint=PRINT)
FEW = TrainingSettings(steps=3, learning_rate=1e-3, batch_size=2, seed=5)
PAIRS = KVTokensRecipe(supercategory="face", te_weight=1e-3, resolution=64, learning=FEW)
MAPPER = StageMapperRecipe(attention_weight=3e-3, te_weight=0.5, resolution=64, learning=FEW)


@pytest.mark.parametrize("recipe", [MAPPER, PAIRS])
def test_fp16_is_learned_with_where_there_is_neither_float64_nor_bfloat16(make_job, tmp_path, gpu, recipe):
    gpu.refuses = frozenset([torch.float64, torch.bfloat16])
    persona = learned(make_job(recipe, dtype=torch.float16), tmp_path)
    assert len(persona.losses["noise"]) == 3
    assert load_progress(tmp_path / "run.partial", PRINT).tensors["scale.value"] > 1


@pytest.fixture(params=["no module", "no autocast", "no generator"])
def less(request, monkeypatch):
    """A device that torch does not know by name (DirectML's), or only in part."""
    if request.param == "no module":
        monkeypatch.delattr(torch, fake_device.NAME)
    elif request.param == "no autocast":
        monkeypatch.delattr(fake_device.Module, "get_amp_supported_dtype")
    else:
        for name in ("get_rng_state", "set_rng_state"):
            monkeypatch.delattr(fake_device.Module, name)
    return request.param


def test_what_the_device_lacks_learning_does_without(make_job, tmp_path, monkeypatch, gpu, less):
    """Where memory is short, with previews; and what is learned is the same."""
    usual = learned(make_job(PAIRS, on_cpu=("model", "clip")), tmp_path, name="usual")
    monkeypatch.setattr(pace, "SHARE", 1e9)
    monkeypatch.setattr(preview, "watched", lambda: True)
    monkeypatch.setattr(in_memory, "fit_into_memory", lambda task, *_: (least(task), 0.0))
    shown = []
    persona = train_persona(
        make_job(PAIRS), PRINT, tmp_path / "less", lambda progress: None,
        on_preview=lambda progress, picture: shown.append(picture),
    )  # fmt: skip
    assert len(shown) == 1
    for name, losses in usual.losses.items():
        assert persona.losses[name] == pytest.approx(losses, rel=1e-4)


def least(task):
    return Fit(1, frozenset(memory.layers_to_checkpoint(task.denoiser.diffusion_model, task.denoiser.device)))


def test_layers_are_computed_twice_where_torch_knows_the_device(make_job, gpu, monkeypatch):
    job = make_job(PAIRS)
    unet = job.model.model.diffusion_model
    assert len(memory.layers_to_checkpoint(unet, fake_device.DEVICE)) == 21
    monkeypatch.delattr(torch, fake_device.NAME)
    assert memory.layers_to_checkpoint(unet, fake_device.DEVICE) == []
    assert len(memory.layers_to_checkpoint(unet, torch.device("cpu"))) == 21


def test_what_the_device_lacks_painting_does_without(make_job, gpu, less):
    assert painted(make_job(None))[0].isfinite().all()


@pytest.mark.parametrize(
    "said",
    [
        "CUDA out of memory. Tried to allocate 2.00 GiB.",
        "HIP out of memory. Tried to allocate 2.00 GiB.",
        "MPS backend out of memory (MPS allocated: 8.00 GB, other allocations: 1.00 GB, max allowed: 9.07 GB).",
        "Could not allocate tensor with 1073741824 bytes. There is not enough GPU video memory available!",
        "UR error: UR_RESULT_ERROR_OUT_OF_DEVICE_MEMORY",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "[enforce fail at alloc_cpu.cpp:118] DefaultCPUAllocator: not enough memory: you tried to allocate 4 bytes.",
    ],
)
def test_each_devices_way_to_say_that_memory_is_used_up_is_understood(said):
    assert out_of_memory(RuntimeError(said)) and not out_of_memory(ValueError(said))


NAMED = "cuda", "mps", "xpu", "directml", "is_cuda", "hip", "pin_memory", "GradScaler"


def test_the_pack_names_no_kind_of_gpu():
    """What can be asked of any device, is asked of it."""
    root = Path(persona_core.__file__).parents[1]
    files = [*root.glob("persona_core/**/*.py"), *root.glob("nodes/*.py"), root / "__init__.py"]
    found = []
    for file in files:
        for node in ast.walk(ast.parse(file.read_text())):
            named = getattr(node, "attr", getattr(node, "id", getattr(node, "value", None)))
            if isinstance(named, str) and any(named == one or named.startswith(f"{one}:") for one in NAMED):
                found.append(f"{file.name}:{node.lineno} {named}")
    assert len(files) > 60 and not found
