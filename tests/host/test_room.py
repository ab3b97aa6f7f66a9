"""That what is free decides how learning is made to fit, and what the host is asked to free for it."""

import logging
import re
from dataclasses import replace

import comfy.model_management
import pytest
import tiny_models
import torch
from jobs import learned, own_forwards

from persona_core.host.learn.memory import room_for
from persona_core.photos import Photo

RESERVE = comfy.model_management.minimum_inference_memory()


@pytest.fixture
def large(job):
    """A job whose steps are not so small that nothing is to be found out."""
    return replace(job, photos=[Photo(torch.rand(160, 160, 3), torch.ones(160, 160))])


def test_what_is_free_decides_how_a_step_is_made_to_fit(large, tmp_path, caplog, free, kept):
    def ways(name: str) -> tuple[int, int]:
        """How learning says that it fits, and that it does so."""
        twice = []
        caplog.clear()
        with caplog.at_level(logging.INFO, "persona"):
            learned(large, tmp_path, lambda progress: twice.append(len(own_forwards(large.model))), name)
        said = "\n".join(record.message for record in caplog.records)
        rows, layers = map(int, re.search(r"GB: (\d+) of 2 pictures at once, (\d+) of 21 layers", said).groups())
        assert set(twice) == {layers}
        return rows, layers

    free(2**50)
    assert ways("plenty") == (2, 0)
    step = 2 * sum(kept[0].values())
    free(RESERVE + 1.01 * step)
    assert ways("enough") == (2, 0)
    free(RESERVE + 0.6 * step)
    rows, layers = ways("some")
    assert rows == 2 and 0 < layers < 21
    free(RESERVE)
    assert ways("none") == (1, 21)
    assert len(kept) == 4


def test_for_learning_other_models_are_unloaded_and_the_jobs_own_are_not(model, clip, monkeypatch, free):
    manager, asked = comfy.model_management, []
    manager.load_models_gpu([model, clip.patcher, tiny_models.model()])
    monkeypatch.setattr(manager, "is_device_cpu", lambda device: False)
    monkeypatch.setattr(manager, "free_memory", lambda *args, **named: asked.append((args, named)))
    free(5e9 + RESERVE)
    assert room_for(3e9, (model, clip.patcher), model.load_device) == 5e9
    [(args, named)] = asked
    assert args == (3e9 + RESERVE, model.load_device)
    assert {id(one.model) for one in named["keep_loaded"]} == {id(model), id(clip.patcher)}
