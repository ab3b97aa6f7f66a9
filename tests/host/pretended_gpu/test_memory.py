"""Memory that ends at a random tensor of learning: it goes on with less, or stops with a sentence, and all is as before.

Each test makes a draw of its own in one part of learning, as most tensors are made in few of them.
"""

import random
from dataclasses import replace
from functools import partial

import comfy.model_management
import jobs
import pytest
import torch
from comfy.ldm.models.autoencoder import AutoencoderKL
from jobs import moved, own_forwards, tensors

from persona_core import training
from persona_core.host.learn.in_memory import TooLittleMemory
from persona_core.recipes import KVTokensRecipe, StageMapperRecipe
from persona_core.task import TrainingSettings

FEW = TrainingSettings(steps=2, learning_rate=1e-3, batch_size=2, seed=5)
RECIPE = StageMapperRecipe(attention_weight=3e-3, te_weight=0.5, resolution=64, learning=FEW)
PARTS = {  # of learning: what makes their tensors
    "loading": (comfy.model_management, "load_models_gpu"),
    "the VAE": (AutoencoderKL, "encode"),
    "forward": (training, "forward_together"),
    "backward": (torch.Tensor, "backward"),
    "the optimizer": (torch.optim.AdamW, "step"),
}
learned = partial(jobs.learned, fingerprint="fingerprint")
known = {}


def undisturbed(make_job, folder, gpu):
    """What is learned with memory for all, from where, and the numbers of the tensors that each part makes."""
    if known:
        return known
    nothing = replace(RECIPE, learning=replace(FEW, steps=0))
    known["start"] = tensors(learned(make_job(nothing), folder, name="start"))
    first, made = gpu.made, {part: [] for part in PARTS}
    with pytest.MonkeyPatch.context() as patch:
        for part, (owner, name) in PARTS.items():
            patch.setattr(owner, name, counted(getattr(owner, name), gpu, first, made[part]))
        known["persona"] = learned(make_job(RECIPE), folder, name="undisturbed")
    known["made"] = {**made, "anything": range(gpu.made - first)}
    return known


def counted(own, gpu, first, made):
    def call(*given, **named):
        before = gpu.made - first
        try:
            return own(*given, **named)
        finally:
            made.extend(range(before, gpu.made - first))

    return call


def check_same(persona, expected, start):
    for name, losses in expected.losses.items():
        assert persona.losses[name] == pytest.approx(losses, rel=1e-4)
    one, other = (moved(each.representation, start) for each in (expected, persona))
    assert one.any() and (one - other).norm() <= 0.05 * one.norm()


def weights(job):
    models = job.model.model, job.clip.patcher.model, job.vae.patcher.model
    return [weight for model in models for weight in model.state_dict().values()]


@pytest.mark.parametrize(
    ("part", "draws"),
    [("loading", 2), ("the VAE", 1), ("forward", 1), ("backward", 1), ("the optimizer", 2), ("anything", 1)],
)
def test_memory_that_ends_at_a_random_tensor(make_job, tmp_path, gpu, part, draws):
    expected = undisturbed(make_job, tmp_path, gpu)
    job, chance = make_job(RECIPE), random.Random(part)
    before = [weight.clone() for weight in weights(job)]
    for number in range(draws):
        at = gpu.fails_after = gpu.made + chance.choice(expected["made"][part])
        try:
            persona, stopped = learned(job, tmp_path, name=f"{number}"), False
        except TooLittleMemory as error:
            assert "do not fit. Lower the resolution" in str(error)
            stopped = True
        assert gpu.made > at and stopped <= (part in ("loading", "anything"))
        assert all(weight.device.type == "cpu" for weight in weights(job)) and not own_forwards(job.model)
        assert all(map(torch.equal, weights(job), before))
        if stopped:
            gpu.fails_after, persona = None, learned(job, tmp_path, name=f"{number}")
        check_same(persona, expected["persona"], expected["start"])


def test_where_next_to_nothing_is_free_the_same_is_learned(make_job, tmp_path, gpu_memory):
    """The host keeps what it can on the CPU, but learning needs its models whole."""
    recipe = KVTokensRecipe(supercategory="face", resolution=64, learning=FEW)
    usual = learned(make_job(recipe, "sdxl"), tmp_path, name="usual")
    gpu_memory(2**20)
    persona = learned(make_job(recipe, "sdxl"), tmp_path)
    for name, losses in usual.losses.items():
        assert persona.losses[name] == pytest.approx(losses, rel=1e-4)
