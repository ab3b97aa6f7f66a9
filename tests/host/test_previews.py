"""Pictures while learning change nothing of what is learned, whatever happens to them."""

import time
from dataclasses import replace

import comfy.model_management
import pytest
import torch
from jobs import own_forwards, tensors

from persona_core import preview as pace
from persona_core.host.learn import preview
from persona_core.host.learn.run import train_persona
from persona_core.host.learn.unfinished import load_progress
from persona_core.recipes import KVTokensRecipe, StageMapperRecipe


@pytest.fixture
def eager(monkeypatch):
    """A picture after each step."""
    monkeypatch.setattr(pace, "SHARE", 1e9)
    monkeypatch.setattr(pace, "PAUSE", 0.0)
    monkeypatch.setattr(preview, "watched", lambda: True)


def learned(job, folder, show=None, name="run", on_step=lambda progress: None):
    """With whatever another pack draws from the global generator always the same."""
    torch.manual_seed(1)
    return train_persona(job, "fingerprint", folder / f"{name}.partial", on_step, on_preview=show)


def same(one, other) -> bool:
    values = tensors(other)
    return one.losses == other.losses and all(torch.equal(value, values[name]) for name, value in tensors(one).items())


def patched(job, patch):
    model = job.model.clone()
    model.set_model_attn2_patch(patch)
    return replace(job, model=model)


@pytest.mark.parametrize("recipe", [StageMapperRecipe(attention_weight=3e-3), KVTokensRecipe(supercategory="face")])
def test_the_same_is_learned_with_pictures_and_without(job, tmp_path, eager, recipe):
    def restless(n, k, v, extra):  # another pack's
        return n, k, v + 0.01 * torch.rand_like(v)

    job, shown = (
        patched(replace(job, recipe=replace(recipe, resolution=64, learning=job.recipe.learning)), restless),
        [],
    )
    without = learned(job, tmp_path, name="without")
    state = torch.random.get_rng_state()
    persona = learned(job, tmp_path, lambda progress, picture: shown.append((progress.step, picture)))
    assert same(persona, without) and torch.equal(state, torch.random.get_rng_state())
    steps, pictures = zip(*shown)
    assert steps == (2, 3, 4, 5) and len({picture.tobytes() for picture in pictures}) == 4
    assert pictures[0].size == (512, 768)
    assert torch.is_inference_mode_enabled() and not own_forwards(job.model)


@pytest.mark.parametrize(
    "error", [comfy.model_management.OOM_EXCEPTION("CUDA out of memory."), ValueError("this size")]
)
def test_where_a_picture_fails_learning_goes_on_without(job, tmp_path, caplog, eager, error):
    def fails(n, k, v, extra):
        if not torch.is_grad_enabled():
            raised.append(error)
            raise error
        return n, k, v

    shown, raised, without = [], [], learned(job, tmp_path, name="without")
    persona = learned(patched(job, fails), tmp_path, lambda progress, picture: shown.append(picture))
    assert raised == [error] and not shown and same(persona, without)


def test_where_little_memory_is_free_there_is_no_picture(job, tmp_path, eager, free):
    shown = []
    free(2**29)
    persona = learned(job, tmp_path, lambda progress, picture: shown.append(picture))
    assert not shown and persona.steps == 6


def test_their_time_is_not_that_of_learning(job, tmp_path, eager):
    steps, began = [], time.monotonic()
    learned(job, tmp_path, lambda progress, picture: time.sleep(0.2), on_step=steps.append)
    assert steps[-1].aside > 0.8 and steps[-1].seconds < time.monotonic() - began - 0.8


def test_interrupted_while_it_paints_all_is_as_it_was_and_learning_goes_on_later(job, tmp_path, eager):
    def interrupts(n, k, v, extra):
        if not torch.is_grad_enabled():
            comfy.model_management.interrupt_current_processing()
        return n, k, v

    shown, before = [], {name: value.clone() for name, value in job.model.model.state_dict().items()}
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        learned(patched(job, interrupts), tmp_path, lambda progress, picture: shown.append(picture))
    assert not shown and load_progress(tmp_path / "run.partial", "fingerprint").step == 2
    assert all(torch.equal(value, before[name]) for name, value in job.model.model.state_dict().items())
    assert torch.is_inference_mode_enabled() and not torch.are_deterministic_algorithms_enabled()
    without = learned(job, tmp_path, name="without")
    assert same(learned(job, tmp_path, lambda progress, picture: None), without)


def test_there_is_none_where_nobody_looks(job, tmp_path, eager, monkeypatch):
    shown = []
    monkeypatch.setattr(preview, "watched", lambda: False)
    learned(job, tmp_path, lambda progress, picture: shown.append(picture))
    assert not shown
