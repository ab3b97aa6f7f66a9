"""What happens when learning needs more memory than there is, and that it leaves nothing behind."""

import gc
import json
import logging
import subprocess
import sys
from dataclasses import replace
from functools import partial

import comfy.model_management
import jobs
import pytest
import torch
from jobs import alike, moved, own_forwards, tensors

from persona_core import training
from persona_core.host.learn.in_memory import TooLittleMemory
from persona_core.host.learn.memory import out_of_memory
from persona_core.host.learn.unfinished import load_progress
from persona_core.photos import Photo
from persona_core.recipes import KVTokensRecipe
from persona_core.task import TrainingSettings

PRINT = "fingerprint"  # of all jobs here: another pack's functions have no lasting one
learned = partial(jobs.learned, fingerprint=PRINT)


@pytest.fixture
def job(job):
    """Of a picture that is not square."""
    photo = job.photos[0]
    wide = Photo(torch.cat([photo.image, photo.image[:, :32]], 1), torch.cat([photo.mask, photo.mask[:, :32]], 1))
    learning = replace(job.recipe.learning, seed=1)
    return replace(job, photos=[wide], recipe=replace(job.recipe, learning=learning))


@pytest.fixture
def plenty(free):
    """Room for all, however little of this machine's memory is free."""
    free(2**50)


class Trouble:
    """Another pack's attention patch, which fails from a step on with more than so many rows. on_step: tells it."""

    def __init__(self, model, error: Exception, step: int, rows: int):
        self.error, self.step, self.rows, self.done, self.raised = error, step, rows, 0, 0

        def patch(n, k, v, extra):  # no method: with the options, the host would copy its object too
            if self.done + 1 >= self.step and len(n) > self.rows:
                self.raised += 1
                raise self.error
            return n, k, v

        self.model = model.clone()
        self.model.set_model_attn2_patch(patch)

    def on_step(self, progress):
        self.done = progress.step


@pytest.fixture
def start(job, tmp_path):
    """What every persona of the job starts as."""
    settings = replace(job.recipe.learning, steps=0)
    return tensors(learned(replace(job, recipe=replace(job.recipe, learning=settings)), tmp_path, name="start"))


def out_of_memory_error():
    return comfy.model_management.OOM_EXCEPTION("CUDA out of memory. Tried to allocate 2.00 GiB.")


def warnings(caplog) -> list[str]:
    return [record.message for record in caplog.records if record.levelno == logging.WARNING]


@pytest.mark.parametrize("step", [1, 4])
def test_out_of_memory_learning_goes_on_with_what_needs_least(job, tmp_path, caplog, plenty, start, step):
    unet = job.model.model.diffusion_model
    usual = learned(job, tmp_path, name="usual")
    before = {name: value.clone() for name, value in unet.state_dict().items()}
    trouble, passes = Trouble(job.model, out_of_memory_error(), step, rows=1), []
    unet.register_forward_pre_hook(lambda module, args: passes.append(len(args[0])))
    persona = learned(replace(job, model=trouble.model), tmp_path, trouble.on_step)
    assert trouble.raised == 1 and trouble.done == 6
    assert [2] * step + [1] * 2 * (7 - step) == passes[-step - 2 * (7 - step) :]
    [warning] = warnings(caplog)
    assert f"Out of memory at step {step}: goes on from there with 1 of 2 pictures at once, 21 of 21 layers" in warning
    assert {name: len(losses) for name, losses in persona.losses.items()} == {"noise": 6, "equilibrium": 6}
    for name, losses in usual.losses.items():
        assert persona.losses[name] == pytest.approx(losses, rel=1e-4)
    assert alike(*(moved(one.representation, start) for one in (usual, persona)))
    assert all(torch.equal(value, before[name]) for name, value in unet.state_dict().items())
    assert not own_forwards(job.model) and torch.is_inference_mode_enabled()


def test_where_not_even_the_least_fits_the_artist_is_told_and_goes_on_later(job, tmp_path, caplog, plenty, start):
    usual = learned(job, tmp_path, name="usual")
    trouble = Trouble(job.model, out_of_memory_error(), 3, rows=0)
    with pytest.raises(
        TooLittleMemory, match="one picture of 96x64 pixels.*Lower the resolution.*after step 2 is kept"
    ):
        learned(replace(job, model=trouble.model), tmp_path, trouble.on_step)
    assert trouble.raised == 2 and len(warnings(caplog)) == 1 and not own_forwards(job.model)
    assert load_progress(tmp_path / "run.partial", PRINT).step == 2
    steps = []
    resumed = learned(job, tmp_path, lambda progress: steps.append(progress.step))
    assert steps == [3, 4, 5, 6] and len(resumed.losses["noise"]) == 6
    assert alike(*(moved(one.representation, start) for one in (usual, resumed)))


@pytest.mark.parametrize("rows", [1, 0])
def test_where_there_is_none_left_to_keep_a_step_it_is_said_where_learning_goes_back_to(
    job, tmp_path, caplog, plenty, monkeypatch, rows
):
    """rows: with one at a time it fits then, or not."""
    trouble, own, steps, failed = Trouble(job.model, out_of_memory_error(), 3, rows), training.snapshot, [], []

    def snapshot(*given):
        if trouble.raised > len(failed):
            failed.append(trouble.error)
            raise trouble.error
        return own(*given)

    def on_step(progress):
        trouble.on_step(progress)
        steps.append(progress.step)

    monkeypatch.setattr(training, "snapshot", snapshot)
    if rows:
        learned(replace(job, model=trouble.model), tmp_path, on_step)
        assert steps == [1, 2, 1, 2, 3, 4, 5, 6]
    else:
        with pytest.raises(TooLittleMemory, match="Nothing that was learned is kept"):
            learned(replace(job, model=trouble.model), tmp_path, on_step)
    why, said = warnings(caplog)[:2]
    assert "What is learned at step 2 could not be kept, only at step 0: CUDA out of memory" in why
    assert "Out of memory at step 3: goes back to step 1, as what came after could not be kept, with 1 of 2" in said


def test_where_not_even_finding_out_fits_the_least_is_tried(job, tmp_path, caplog, plenty):
    large = replace(job, photos=[Photo(torch.rand(160, 160, 3), torch.ones(160, 160))])
    trouble, rows = Trouble(job.model, out_of_memory_error(), 1, rows=0), []

    def look(module, args):
        rows.append(len(args[0]))
        trouble.rows = trouble.raised  # so that after the first failure one row at a time fits

    job.model.model.diffusion_model.register_forward_pre_hook(look)
    persona = learned(replace(large, model=trouble.model), tmp_path)
    assert trouble.raised == 1 and len(persona.losses["noise"]) == 6 and not warnings(caplog)
    assert rows == [1] * (1 + 2 * 6)  # what found out, and the pictures one by one


@pytest.mark.parametrize(
    "error",
    [
        ValueError("of another pack"),
        RuntimeError("mat1 and mat2 shapes"),
        comfy.model_management.InterruptProcessingException(),
    ],
)
def test_other_errors_are_not_taken_for_too_little_memory(job, tmp_path, caplog, plenty, error):
    trouble = Trouble(job.model, error, 3, rows=1)
    with pytest.raises(type(error)) as caught:
        learned(replace(job, model=trouble.model), tmp_path, trouble.on_step)
    assert caught.value is error and trouble.raised == 1 and not warnings(caplog)


def test_the_errors_that_say_memory_is_used_up():
    """As the allocators here really say it."""
    for allocate in (lambda: torch.empty(1 << 50), lambda: bytearray(1 << 60)):
        with pytest.raises((RuntimeError, MemoryError)) as caught:
            allocate()
        assert out_of_memory(caught.value)
    assert out_of_memory(out_of_memory_error())
    assert not any(map(out_of_memory, (RuntimeError("shapes cannot be multiplied"), ValueError(), KeyboardInterrupt())))


REALLY_OUT_OF_MEMORY = """
import sys
sys.path[:0] = {path!r}
from tools import host_modules
import json, logging, resource
from dataclasses import replace
from pathlib import Path
import comfy.model_management, tiny_models, torch
from persona_core.host.learn import run
from persona_core.photos import Photo
from persona_core.recipes import StageMapperRecipe
from persona_core.task import TrainingSettings

torch.set_num_threads(1)
# Which is wrong:
comfy.model_management.get_free_memory = lambda device, torch_free_too=False: (2**50,) * 2 if torch_free_too else 2**50
logging.basicConfig(level=logging.WARNING)
learning = TrainingSettings(steps=1, batch_size=8, learning_rate=1e-3)
with torch.inference_mode():
    models = tiny_models.model(), tiny_models.clip(), tiny_models.vae()
    photo = Photo(torch.rand(256, 256, 3), torch.ones(256, 256))
    job = run.TrainingJob("ann", *models, [photo], StageMapperRecipe(resolution=256, learning=learning))
    # Once before, with one row, so that all that stays is there.
    few = replace(job.recipe, learning=replace(learning, batch_size=1))
    run.train_persona(replace(job, recipe=few), "few", Path("few.partial"), lambda progress: None)
    status = Path("/proc/self/status").read_text().splitlines()
    used = 1024 * int(next(line.split()[1] for line in status if line.startswith("VmSize:")))
    resource.setrlimit(resource.RLIMIT_AS, (used + 75 * 2**20, resource.RLIM_INFINITY))
    persona = run.train_persona(job, "all", Path("all.partial"), lambda progress: None)
print(json.dumps(persona.losses))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits the memory of a process")
def test_when_memory_really_is_used_up_learning_goes_on(tmp_path):
    script = REALLY_OUT_OF_MEMORY.format(path=sys.path)
    run = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-3000:]
    assert "Out of memory at step 1: goes on from there with 1 of 8 pictures at once, 21 of 21 layers" in run.stderr
    assert [len(losses) for losses in json.loads(run.stdout.splitlines()[-1]).values()] == [1, 1]


def tensors_alive() -> int:
    gc.collect()
    return sum(issubclass(type(one), torch.Tensor) for one in gc.get_objects())


@pytest.mark.parametrize("trouble", [False, True])
def test_nothing_of_a_learned_persona_stays(job, tmp_path, plenty, kept, trouble):
    recipe, counts = KVTokensRecipe(supercategory="face", resolution=64, learning=TrainingSettings(2, batch_size=7)), []
    for number in range(3):
        given = Trouble(job.model, out_of_memory_error(), 1 if trouble else 99, rows=1)
        learned(replace(job, model=given.model, recipe=recipe), tmp_path, given.on_step, f"{number}")
        assert given.raised == trouble
        del given
        counts.append(tensors_alive())
    assert counts[1] == counts[2] and len(kept) == 3
