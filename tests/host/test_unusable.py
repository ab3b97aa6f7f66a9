"""Unfinished learning from which learning cannot go on, and learning that ends in no number: told, and never saved."""

import json
from dataclasses import replace

import pytest
import torch
from jobs import learned
from safetensors import safe_open
from safetensors.torch import save_file

from persona_core.host.learn.run import load_progress
from persona_core.progress import LossNotFinite
from persona_core.schema import CHECKSUM, checksum


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
