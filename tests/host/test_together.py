"""Several people in one pass: each is what they are alone, whoever else is there."""

import gc
import time
import weakref
from dataclasses import replace
from functools import partial

import pytest
import tiny_models
import torch
from jobs import alike, learned, moved

from persona_core import training
from persona_core.host.learn import in_memory
from persona_core.host.learn.memory import Fit
from persona_core.host.learn.run import Wanted, train_personas
from persona_core.host.learn.unfinished import load_progress
from persona_core.photos import Photo
from persona_core.progress import LossNotFinite
from persona_core.recipes import MEASURED, KVTokensRecipe, StageMapperRecipe
from persona_core.task import TrainingSettings

FEW = TrainingSettings(steps=4, batch_size=2, learning_rate=1e-3)
MAPPER = StageMapperRecipe(te_weight=0.5, resolution=64, learning=FEW)
PAIRS = KVTokensRecipe(supercategory="face", te_weight=1e-3, resolution=64, learning=replace(FEW, batch_size=4))
EVERYTHING = replace(MAPPER, attention_weight=3e-3, context_weight=0.1, weights="relative")
FAMILIES = {
    "sd1": (tiny_models.model, "sd1"),
    "sdxl": (lambda: tiny_models.model(sdxl=True), "sdxl"),
    "z-image": (tiny_models.z_image, "z_image"),
}
if "anima" in tiny_models.CLIPS:
    FAMILIES["anima"] = tiny_models.anima, "anima"
PEOPLE = ({}, {"caption": "in a garden", "supercategory": "man"}, {"steps": 2}, {"seed": 7, "width": 128})


def person(job, recipe, number, steps=4, width=64, seed=0, **changes):
    image = torch.rand(64, width, 3, generator=torch.Generator().manual_seed(number))
    learning = replace(recipe.learning, steps=steps, seed=seed)
    return replace(
        job,
        name=f"person{number}",
        photos=[Photo(image, torch.ones(64, width))],
        recipe=replace(recipe, learning=learning, **changes),
    )


def people(job, recipe):
    return [person(job, recipe, number, **changes) for number, changes in enumerate(PEOPLE)]


def together(jobs, folder, at_once=3, on_step=lambda progress: None):
    found = {}
    wanted = [Wanted(job, job.fingerprint(), folder / f"{job.name}.partial", on_step) for job in jobs]
    train_personas(wanted, at_once, lambda one, persona: found.update({one.job.name: persona}))
    return found


def check_alike(alone, beside):
    start = {name: torch.zeros_like(value) for name, value in alone.representation.state_dict().items()}
    assert alike(moved(alone.representation, start), moved(beside.representation, start))
    for name, losses in alone.losses.items():
        assert beside.losses[name] == pytest.approx(losses, rel=2e-3, abs=1e-6), name


@pytest.fixture
def passes(monkeypatch):
    """How many people each pass had."""
    counts, own = [], training.forward_together

    def count(shares):
        counts.append(len(shares))
        return own(shares)

    monkeypatch.setattr(training, "forward_together", count)
    return counts


@pytest.mark.parametrize("family", FAMILIES)
def test_each_learns_what_they_learn_alone(job, tmp_path, family, passes):
    """Of other photos, words, captions, seeds and lengths; two may share a pass where photos are as large."""
    make, clip = FAMILIES[family]
    jobs = people(replace(job, model=make(), clip=tiny_models.clip(clip)), MAPPER)
    alone = [learned(one, tmp_path, name=f"{one.name}.alone") for one in jobs]
    assert set(passes) == {1}
    passes.clear()
    beside = together(jobs, tmp_path)
    assert max(passes) >= 2 and sum(passes) == sum(one.recipe.learning.steps for one in jobs)
    for one in alone:
        check_alike(one, beside[one.name])


@pytest.mark.parametrize("recipe", [PAIRS, EVERYTHING, replace(EVERYTHING, learning=replace(MEASURED, steps=14))])
def test_whatever_is_learned_and_asked_for(job, tmp_path, recipe, passes):
    """Of attention too, and measured: each looks at its own pictures."""
    jobs = [person(job, recipe, number, recipe.learning.steps, seed=number) for number in range(3)]
    alone = [learned(one, tmp_path, name=f"{one.name}.alone") for one in jobs]
    passes.clear()
    beside = together(jobs, tmp_path)
    assert max(passes) == 3
    for one in alone:
        check_alike(one, beside[one.name])
        for name, told in one.settings.items():
            if isinstance(told, float):
                assert beside[one.name].settings[name] == pytest.approx(told, rel=2e-2, abs=1e-6), name


def test_people_of_all_kinds_in_one_wave(job, tmp_path, passes):
    jobs = [person(job, recipe, number) for number, recipe in enumerate((MAPPER, PAIRS, EVERYTHING, MAPPER, PAIRS))]
    jobs[3] = replace(jobs[3], image_embeddings=torch.randn(1, 6), recipe=replace(jobs[3].recipe, tokens=1))
    alone = [learned(one, tmp_path, name=f"{one.name}.alone") for one in jobs]
    passes.clear()
    beside = together(jobs, tmp_path, at_once=5)
    assert 1 in passes and 2 in passes
    for one in alone:
        check_alike(one, beside[one.name])


@pytest.mark.parametrize("micro_batch", [1, 3, 5])
def test_passes_of_some_rows_learn_the_same(job, tmp_path, monkeypatch, passes, micro_batch):
    """Of a part of one person's, of one's, of two people's and a rest."""
    jobs = [person(job, MAPPER, number) for number in range(3)]
    alone = [learned(one, tmp_path, name=f"{one.name}.alone") for one in jobs]
    monkeypatch.setattr(in_memory, "fit_into_memory", lambda *_: (Fit(micro_batch, frozenset()), 1e9))
    passes.clear()
    beside = together(jobs, tmp_path)
    assert max(passes) == (2 if micro_batch == 5 else 1)
    for one in alone:
        check_alike(one, beside[one.name])


def test_each_counts_the_time_of_its_own_rows_and_of_what_is_done_for_it(job, tmp_path):
    jobs, found = [person(job, MAPPER, number) for number in range(3)], {}

    def on_step(name, progress):
        time.sleep(0.2)
        if name == "person0":  # as previews do
            progress.aside += 0.2
        found[name] = progress

    def wanted(one):
        return Wanted(one, "f" * 32, tmp_path / one.name, partial(on_step, one.name))

    began = time.monotonic()
    train_personas(map(wanted, jobs), 3, lambda one, persona: time.sleep(0.5))
    whole, seconds = time.monotonic() - began - 3 * 0.5, {name: one.seconds for name, one in found.items()}
    assert seconds["person0"] > 0 and sum(seconds.values()) < whole - 4 * 0.2
    for name in ("person1", "person2"):
        assert seconds[name] - seconds["person0"] == pytest.approx(4 * 0.2, rel=0.5)


def test_whoever_is_done_is_let_go(job, tmp_path):
    kept, alive = [], []
    own = StageMapperRecipe.representation

    class Remembered(StageMapperRecipe):
        def representation(self, beginning):
            made = own(self, beginning)
            kept.append(weakref.ref(made))
            return made

    recipe = Remembered(**vars(MAPPER))
    jobs = [person(job, recipe, number) for number in range(6)]

    def done(one, persona):
        gc.collect()
        alive.append(sum(made() is not None for made in kept))

    train_personas([Wanted(one, "f" * 32, tmp_path / one.name) for one in jobs], 2, done)
    assert len(kept) == 6 and max(alive) <= 3


@pytest.mark.parametrize("count", [1, 3])
def test_what_whoever_gets_a_persona_raises_is_not_taken_for_too_little_memory(job, tmp_path, count):
    """And nobody vanishes: it is raised, with the others kept."""
    jobs, tried = [person(job, MAPPER, number) for number in range(count)], []

    def full(one, persona):
        tried.append(one.job.name)
        raise MemoryError("the receiver's")

    with pytest.raises(MemoryError):
        train_personas([Wanted(one, "f" * 32, tmp_path / one.name) for one in jobs], 3, full)
    assert tried == ["person0"] and all((tmp_path / one.name).is_file() for one in jobs)


def test_whoever_is_done_makes_room_for_the_next(job, tmp_path, passes):
    jobs = [person(job, MAPPER, number, steps) for number, steps in enumerate((1, 3, 2, 2))]
    assert len(together(jobs, tmp_path, at_once=2)) == 4
    assert passes == [2, 2, 2, 1, 1]


def test_a_loss_that_is_no_number_stops_no_other(job, tmp_path):
    broken = person(job, MAPPER, 0)
    broken = replace(broken, photos=[replace(broken.photos[0], image=broken.photos[0].image * torch.nan)])
    found = together([broken, person(job, MAPPER, 1)], tmp_path)
    assert isinstance(found["person0"], LossNotFinite) and "'person0'" in str(found["person0"])
    assert len(found["person1"].losses["noise"]) == 4


def test_a_caption_that_is_too_long_stops_no_other(job, tmp_path):
    found = together([person(job, MAPPER, 0, caption="long " * 90), person(job, MAPPER, 1)], tmp_path)
    assert "Make the caption shorter" in str(found["person0"]) and found["person1"].losses


def test_stopped_in_the_middle_each_goes_on_from_there(job, tmp_path):
    jobs = [person(job, MAPPER, number) for number in range(2)]
    whole = together(jobs, tmp_path / "whole", at_once=2)
    steps = []

    def stop(progress):
        steps.append(progress.step)
        if steps == [1, 1, 2, 2]:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        together(jobs, tmp_path, at_once=2, on_step=stop)
    for one in jobs:
        assert load_progress(tmp_path / f"{one.name}.partial", one.fingerprint()).step == 2
    for name, persona in together(jobs, tmp_path, at_once=2).items():
        assert persona.learned == whole[name].learned


def test_where_memory_ends_all_go_on_with_less(job, tmp_path, monkeypatch, passes):
    jobs, own, tried, told = [person(job, MAPPER, number) for number in range(2)], in_memory.train_together, [], []

    def train(learnings, at_once, micro_batch):
        tried.append(micro_batch)
        for one in own(learnings, at_once, micro_batch):
            if len(tried) == 1:
                raise torch.OutOfMemoryError("out of memory")
            yield one

    monkeypatch.setattr(in_memory, "train_together", train)
    wanted = [Wanted(one, "f" * 32, tmp_path / one.name, on_trouble=told.append) for one in jobs]
    found = []
    train_personas(wanted, 2, lambda one, persona: found.append(persona))
    assert tried == [4, 2] and len(found) == 2 and "while 2 were learned at once" in told[0]
    assert all(len(one.losses["noise"]) == 4 for one in found)
