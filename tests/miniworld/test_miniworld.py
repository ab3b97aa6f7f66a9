"""The small world is what it says: seeded drawings, true captions, models that the pack takes as they are."""

import random

import pytest
import torch
from safetensors.torch import load_file

from miniworld import captions, instruments, model, train
from miniworld.canvas import SIZE
from miniworld.measuring import EYE, HELD_OUT, TUNING
from miniworld.painting import paint
from miniworld.world import people, portrait, render, scenes, seed_of
from persona_core.host.clip import text_towers
from persona_core.host.learn.text import DifferentiableTower, sections
from persona_core.host.model import check_models


def some(count: int = 16, seed: int = 3):
    return scenes(people(count, seed), torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def painter():
    return train.Painter(0, "cpu")


def test_the_same_seed_draws_the_same_people():
    (one, mask), (two, _), (other, _) = render(some()), render(some()), render(some(seed=4))
    assert one.shape == (16, 3, SIZE, SIZE) and mask.shape == (16, 1, SIZE, SIZE)
    assert torch.equal(one, two) and not torch.equal(one, other)
    assert one.min() >= 0 and one.max() <= 1 and mask.min() >= 0 and mask.max() <= 1


def test_the_mask_is_the_person_and_not_what_they_wear():
    scene = portrait(people(16, 3))
    picture, mask = render(scene)
    on_blue, same = render(scene.having(background="blue"))
    assert torch.equal(mask, same)
    assert ((picture != on_blue).any(1, keepdim=True) & (mask == 1)).sum() == 0
    hat, without = render(scene.having(hat="red"))
    assert (without <= mask + 1e-6).all() and ((hat != picture).any(1, keepdim=True) & (without == 1)).sum() == 0
    assert (mask.mean((1, 2, 3)) > 0.15).all()


def test_captions_name_only_what_is_there():
    scene, chance = some(64), random.Random(0)
    for row in range(len(scene)):
        name = (None, "emma")[row % 2]
        text = captions.caption(scene, row, name, chance)
        assert ("emma" in text) == bool(name)
        for kind, values in captions.CHOICES.items():
            true = list(values)[int(getattr(scene, kind)[row])]
            for other in set(values) - {true}:
                false = set(captions.attribute_phrases(kind, other)) - set(captions.attribute_phrases(kind, true))
                assert not any(phrase in text for phrase in false), (text, kind, true)


def test_every_name_is_one_word_of_the_vocabulary(painter):
    tokens = [painter.tokens(name) for name in captions.NAMES]
    assert all(len(ids) == 1 for ids in tokens) and len({ids[0] for ids in tokens}) == len(captions.NAMES)


def test_training_reads_captions_as_the_host_does(painter):
    texts = train.captioned(32, 0, 0)[1]
    tower, tokenizer = text_towers(painter.clip).first, painter.clip.tokenizer
    text = DifferentiableTower(tower, None, torch.device("cpu"))
    ids = torch.tensor([sections(tokenizer.tokenize_with_weights(one), "l") for one in texts])
    hidden, _ = text.hidden(painter.words[painter.row[ids]], len(ids))
    assert (painter.row[ids] >= 0).all() and torch.equal(text.finish(hidden), painter.context(texts))


def test_what_is_saved_paints_and_the_pack_takes_it(painter, tmp_path):
    path = tmp_path / "m.safetensors"
    model.save(path, painter.weights | {"words": painter.ids}, {"step": 0})
    with torch.inference_mode():
        loaded = model.load(path)
        check_models(*loaded, "face")
        pictures = paint(*loaded, ["a photo of emma wearing a red hat", "a face"], steps=2)
    assert path.stat().st_size < 12_000_000 and model.metadata(path) == {"step": 0}
    assert pictures.shape == (2, 3, SIZE, SIZE) and pictures.isfinite().all()


def test_training_goes_on_as_if_it_had_never_stopped(tmp_path):
    def run(folder, *stops):
        for steps in stops:
            train.main(
                [
                    str(tmp_path / folder),
                    "--steps=4",
                    f"--stop={steps}",
                    "--batch=2",
                    "--threads=1",  # two sum in any order
                    "--sheet-every=0",
                    "--reading-steps=2",
                ]
            )
        return load_file(tmp_path / folder / "state.safetensors")

    whole, parts = run("whole", 4), run("parts", 2, 4)
    assert all(torch.equal(value, parts[key]) for key, value in whole.items())


def test_what_is_shipped_is_small_and_the_instruments_are_good():
    assert model.PAINTER.stat().st_size < 12_000_000
    eye, stored = instruments.load(EYE)
    figures = instruments.examine(eye)
    assert figures == pytest.approx(stored, abs=0.002)  # machines round differently
    assert figures["equal_error_rate"] < 0.03
    assert all(figures[kind] > 0.97 for kind in captions.CHOICES)


def test_nothing_is_trained_on_the_people_who_are_measured():
    trained = {seed_of("people", seed, step) for seed in range(3) for step in range(3000)}
    assert max(trained) < 2**31 < min(HELD_OUT, TUNING) and max(HELD_OUT, TUNING) < 2**32
    shown = people(64, seed_of("people", 0, 777))
    assert (torch.cdist(people(16, HELD_OUT), shown) > 0.05).all()
    # What is shipped was trained with the numbers of the steps for seeds.
    assert all((torch.cdist(people(16, HELD_OUT), people(64, step)) > 0.05).all() for step in range(2500))


def test_the_instruments_scale(tmp_path):
    eye = instruments.Eye()
    figures = {"same_mean": 0.9, "other_mean": 0.1}
    instruments.save(eye, figures, tmp_path / "i.safetensors")
    loaded, read = instruments.load(tmp_path / "i.safetensors")
    who = instruments.identity(loaded, render(some())[0])
    assert read == figures and torch.allclose(who.norm(dim=-1), torch.ones(16), atol=1e-5)
    assert torch.allclose(instruments.likeness(who, who, figures), torch.full((16,), 1.125), atol=1e-5)
    assert set(instruments.read(loaded, render(some())[0])[0]) == set(captions.CHOICES)
