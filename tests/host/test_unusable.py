"""Unfinished learning from which learning cannot go on, and learning that ends in no number: told, and never saved."""

import json
from dataclasses import replace

import pytest
import torch
from jobs import learned
from safetensors import safe_open
from safetensors.torch import save_file

from persona_core.host.learn import run
from persona_core.host.learn.unfinished import load_progress
from persona_core.progress import LossNotFinite
from persona_core.schema import CHECKSUM, checksum


def begun_only(lessons, patchers, at_once, on_done, *given):
    """In the place of learning: only how it begins."""
    for lesson in lessons:
        lesson.begin()
        on_done(lesson, None)


@pytest.fixture
def unfinished(job, tmp_path):
    """The file of a run, what it holds, and a way to write it anew, rightly summed up."""
    learned(job, tmp_path)
    path = tmp_path / "run.partial"
    with safe_open(path, "pt") as file:
        metadata, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118

    def write(**changes) -> None:
        told = {**metadata, **{name: one for name, one in changes.items() if isinstance(one, str)}}
        held = {**tensors, **{name: one for name, one in changes.items() if not isinstance(one, str)}}
        told.setdefault(CHECKSUM, "")
        held = {name: one for name, one in held.items() if one is not None}
        save_file(held, path, {**told, CHECKSUM: checksum(held, told)})

    return path, tensors, write


def test_what_cannot_be_gone_on_with_counts_as_none(job, unfinished, caplog):
    path, tensors, write = unfinished
    write()
    assert load_progress(path, job.fingerprint()) is not None, "written anew it is as it was"
    name = next(name for name in tensors if name.startswith("parameter."))
    for changes in (
        {name: tensors[name] * torch.nan}, {"losses": "[]"}, {"losses": json.dumps({"noise": [0.1, None]})},
        {"losses": json.dumps({"noise": [0.1], "equilibrium": [0.1, 0.2]})},
    ):  # fmt: skip
        write(**changes)
        caplog.clear()
        assert load_progress(path, job.fingerprint()) is None and "Learning begins anew" in caplog.text, changes


def without(tensors: dict, part: str) -> dict:
    return {name: None for name in tensors if name.startswith(part)}


def changes_of(tensors: dict):
    """By what is wrong then: tensors that a snapshot does not have, or None for what is missing."""
    parameter = next(name for name in tensors if name.startswith("parameter."))
    moment = next(name for name in tensors if name.endswith(".exp_avg"))
    for name in (
        "step", "seconds", "scale.value", parameter, moment, f"{moment}_sq", "meter 0.steps", "optimizer.", "meter 1", "scale", "optimizer.1.",
    ):  # fmt: skip
        yield f"{name} missing", without(tensors, name)
    for name, value in tensors.items():
        if name.startswith(("parameter", "optimizer.0", "meter", "scale", "pull", "step", "seconds")):
            yield f"{name} of another shape", {name: torch.ones(2, 3, 1).to(value)}
    number = torch.tensor
    for name, *wrong in (
        ("step", -1, 5, 2**40, 2.5), ("seconds", torch.nan, -1.0, torch.inf), ("meter 0.steps", -3, 99), ("scale.value", 0.0),
        (moment.replace("exp_avg", "step"), -1.0, 1e9), ("pull.equilibrium", -1.0, torch.nan), ("optimizer.x.step", 1.0), ("optimizer.99.step", 1.0), ("other", 1.0),
    ):  # fmt: skip
        for value in wrong:
            yield f"{name} {value}", {name: number(value)}
    gradients = tensors["meter 0.gradients"]
    yield "a meter of other tokens", {"meter 0.gradients": gradients[:, :-1].clone()}
    yield "a meter of more pictures than there were", {"meter 0.gradients": gradients.repeat(50, 1)}
    yield "no sane parameter", {parameter: tensors[parameter] + 1e9}
    yield "a parameter in another format", {parameter: tensors[parameter].to(torch.float8_e4m3fn)}
    yield "a square below 0", {f"{moment}_sq": -1 - tensors[f"{moment}_sq"]}
    yield "other losses", {"losses": json.dumps({"another": [0.1] * 6, "equilibrium": [0.1] * 6})}


def test_what_does_not_fit_this_learning_counts_as_none_and_learning_begins_anew(
    job, unfinished, tmp_path, caplog, monkeypatch
):
    """Rightly summed up, so that nothing but what it holds tells."""
    path, tensors, write = unfinished
    loaded, own = [], run.load_progress
    monkeypatch.setattr(run, "load_progress", lambda *given: loaded.append(own(*given)) or loaded[-1])
    write()
    learned(job, tmp_path)
    assert loaded.pop().step == 6, "what does fit is gone on with"
    for what, changes in changes_of(tensors):
        write(**changes)
        caplog.clear()
        monkeypatch.setattr(run, "train_in_memory", begun_only)
        assert learned(job, tmp_path).losses == {} and loaded == [None], what
        assert "Learning begins anew" in caplog.text and len(caplog.records) == 1, what
        loaded.clear()
    monkeypatch.undo()
    write(step=torch.tensor(-1))
    assert {name: len(values) for name, values in learned(job, tmp_path).losses.items()} == {
        "noise": 6,
        "equilibrium": 6,
    }


def test_a_flipped_bit_counts_as_none(job, unfinished):
    path, _, _ = unfinished
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    assert load_progress(path, job.fingerprint()) is None


def test_a_last_step_that_ends_in_no_number_is_no_persona(job, tmp_path):
    """The loss that is looked at is of before the step."""
    once = replace(job.recipe, learning=replace(job.recipe.learning, steps=1, learning_rate=float("inf")))
    with pytest.raises(LossNotFinite, match="became no number in its last step"):
        learned(replace(job, recipe=once), tmp_path)
    assert load_progress(tmp_path / "run.partial", replace(job, recipe=once).fingerprint()) is None
