"""Where the models do not fit on the device together, their weights visit it layer by layer; what is learned is the
same."""

import logging
import re
from collections import defaultdict
from dataclasses import replace
from functools import partial

import comfy.model_management
import jobs
import pytest
import quantized
import tiny_models
import torch
from jobs import moved, own_forwards, tensors
from torch.multiprocessing.reductions import StorageWeakRef

from persona_core.host.clip import text_towers
from persona_core.host.learn import in_memory, offload, run
from persona_core.host.learn.weights import stored
from persona_core.recipes import KVTokensRecipe, StageMapperRecipe
from persona_core.stages import Stages
from persona_core.task import TrainingSettings

RESERVE = comfy.model_management.minimum_inference_memory()
FEW = TrainingSettings(steps=2, learning_rate=1e-3, batch_size=1, seed=5)  # one row: no way sums gradients otherwise
MAPPER = StageMapperRecipe(attention_weight=3e-3, te_weight=0.5, context_weight=0.1, resolution=64, learning=FEW)
RECIPES = {
    "sd1": MAPPER,
    "sdxl": KVTokensRecipe(supercategory="face", te_weight=1e-3, resolution=64, learning=FEW),
    "z_image": replace(MAPPER, attention_weight=0.0, stages=Stages(538, 836)),
    "anima": replace(MAPPER, stages=Stages(538, 836)),
}
learned = partial(jobs.learned, fingerprint="fingerprint")
known = {}


def whole(make_job, folder, family):
    """What is learned with room for all, and from where."""
    if family not in known:
        start = replace(RECIPES[family], learning=replace(FEW, steps=0))
        known[family] = (
            tensors(learned(make_job(start, family), folder, name="start")),
            learned(make_job(RECIPES[family], family), folder, name="whole"),
        )
    return known[family]


def weights(job):
    return [weight for one in (job.model, job.clip.patcher) for weight in one.model.state_dict().values()]


@pytest.fixture
def visits(monkeypatch):
    """Of which layers weights are on the device at once, each time that one comes, by what `watch` is given."""
    import fake_device

    owners, alive, found, coming = {}, defaultdict(list), [], []
    own_copy, own_made = offload.on_device, fake_device.on_device

    def copied(weight, device):
        coming.append(owners.get(id(weight)) or owners.get(weight.data_ptr()))
        try:
            return own_copy(weight, device)
        finally:
            coming.pop()

    def made(value):
        if coming and coming[-1] and isinstance(value, torch.Tensor):
            alive[coming[-1]].append(StorageWeakRef(value.untyped_storage()))
            found.append({name for name, those in alive.items() if not all(one.expired() for one in those)})
        return own_made(value)

    monkeypatch.setattr(offload, "on_device", copied)
    monkeypatch.setattr(fake_device, "on_device", made)

    def watch(job):
        for tower in text_towers(job.clip).towers:
            for name, weight in tower.transformer.named_parameters():
                if number := re.search(r"layers\.(\d+)\.", name):
                    owners[weight.data_ptr()] = f"{tower.name} {number[1]}"
        return found

    return watch


@pytest.mark.parametrize(
    ("family", "lent"),
    [
        ("sd1", "every layer"),
        ("sdxl", "no layer"),
        *((family, lent) for family in tiny_models.FLOWS for lent in ("no layer", "every layer")),
    ],
)
def test_the_same_is_learned(make_job, tmp_path, gpu_memory, caplog, visits, family, lent):
    start, expected = whole(make_job, tmp_path, family)
    job = make_job(RECIPES[family], family)
    before, found = [weight.clone() for weight in weights(job)], visits(job)
    comfy.model_management.unload_all_models()
    model, clip, vae = (patcher.model_size() for patcher in (job.model, job.clip.patcher, job.vae.patcher))
    gpu_memory(RESERVE + (model + clip - vae - 1 if lent == "no layer" else 0))  # the VAE can be unloaded
    with caplog.at_level(logging.INFO, "persona"):
        persona = learned(job, tmp_path)
    said = "\n".join(record.message for record in caplog.records)
    count, layers = map(int, re.search(r"turns, the text encoder, (\d+) of (\d+) layers", said).groups())
    assert layers and count == (0 if lent == "no layer" else layers)
    assert found and max(map(len, found)) == 1
    one, other = (moved(each.representation, start) for each in (expected, persona))
    for name, losses in expected.losses.items():
        assert persona.losses[name] == pytest.approx(losses, rel=1e-5, abs=1e-12)
    assert one.any() and (one - other).norm() <= 1e-3 * one.norm()
    assert all(weight.device.type == "cpu" for weight in weights(job)) and not own_forwards(job.model)
    assert all(map(torch.equal, weights(job), before)) and not offload.VISITING


@pytest.mark.parametrize("kind", ["packed", "fp8"])
def test_quantized_weights_are_lent_as_they_are(make_job, tmp_path, gpu_memory, gpu, kind):
    job = make_job(RECIPES["z_image"], "z_image")
    model = quantized.model(kind, tiny_models.z_image)
    model.load_device = job.model.load_device
    job, found = replace(job, model=model), []
    for name, free in (("whole", 2**33), ("lent", RESERVE)):
        gpu_memory(free)
        found.append(learned(job, tmp_path, name=name))
    one, other = (each.losses["noise"] for each in found)
    assert one == pytest.approx(other, rel=5e-3) and one[0] == pytest.approx(other[0], rel=1e-5)
    assert all(part.device.type == "cpu" for weight in model.model.parameters() for part in stored(weight))


def test_where_memory_ends_with_both_on_the_device_it_goes_on_from_there(make_job, tmp_path, monkeypatch):
    recipe = replace(RECIPES["z_image"], learning=replace(FEW, steps=3))
    job, own, tried, troubles, steps = make_job(recipe, "z_image"), in_memory.train_together, [], [], []

    def train(learnings, *given):
        (one,) = learnings
        encoder, on_step = one.task.text.towers.first.transformer, one.on_step
        tried.append(next(encoder.layers.parameters()).device.type)

        def then(progress):
            on_step(progress)
            if tried[-1] != "cpu":
                raise torch.OutOfMemoryError("out of memory")

        one.on_step = then
        return own([one], *given)

    monkeypatch.setattr(in_memory, "train_together", train)
    told = (lambda progress: steps.append(progress.step)), troubles.append
    persona = run.train_persona(job, "fingerprint", tmp_path / "unfinished", *told)
    # All at once, and then the least, of which each took a step; there was a third to take.
    assert tried == ["fakegpu", "fakegpu", "cpu"] and steps == [1, 2, 3]
    assert "Out of memory at step 2" in troubles[0] and "only while they are used" in troubles[1]
    assert len(persona.losses["noise"]) == 3 and all(weight.device.type == "cpu" for weight in weights(job))
