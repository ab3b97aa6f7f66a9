"""What lowers likeness: each photo is what its row says, and what is chosen is told by other pictures."""

import json
from dataclasses import asdict, replace

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from bench import lowering, lowering_page, quality
from bench.results import CEILING, FLOOR, Result
from bench.ways import caption_of
from miniworld.measuring.asking import PROMPTS
from miniworld.measuring.subjects import subject
from persona_core.recipes import BALANCED, PRESETS
from persona_core.table import AppliedPersona

PERSON = 3


@pytest.fixture(scope="module")
def somebody():
    return subject(PERSON, "tuning")


@pytest.fixture(scope="module")
def taken(somebody):
    """Each way's photo of them."""
    return {row: way.taken(somebody) for row, way in lowering.photos().items()}


def detail(photo: torch.Tensor) -> float:
    """How much neighbours differ."""
    return photo.diff(dim=1).abs().mean().item() + photo.diff(dim=2).abs().mean().item()


def test_a_reduced_photo_has_less_detail_and_is_still_the_same(somebody, taken):
    details = [detail(taken[row].photo) for row in (lowering.REFERENCE, "half", "quarter")]
    assert details[0] > 1.2 * details[1] > 1.44 * details[2]
    for row in ("half", "quarter"):
        assert taken[row].photo.shape == somebody.photo.shape and torch.equal(taken[row].mask, somebody.mask)
        coarse = (torch.nn.functional.avg_pool2d(one.photo, 16) for one in (taken[row], somebody))
        assert torch.allclose(*coarse, atol=0.03)


def test_from_afar_the_face_is_small_and_cut_out_it_is_large_but_blurred(somebody, taken):
    heads = {row: taken[row].mask.mean().item() for row in ("close", lowering.REFERENCE, "afar_cropped", "afar")}
    assert heads["close"] > 1.5 * heads[lowering.REFERENCE] > 6 * heads["afar"] > 0
    assert heads["afar_cropped"] > 6 * heads["afar"] and taken["afar_cropped"].photo.shape == somebody.photo.shape
    faces = (one.photo * one.mask for one in (taken["afar_cropped"], somebody))
    assert detail(next(faces)) < detail(next(faces))


@pytest.mark.parametrize(("row", "worn"), [("sunglasses", "glasses"), ("hat", "hat")])
def test_only_what_is_worn_differs(somebody, taken, row, worn):
    look, bare = taken[row].scene.figures[0].look, somebody.scene.figures[0].look
    assert getattr(bare, worn) == "none" and replace(look, **{worn: "none"}) == bare
    (head,) = quality.examiner().find(taken[row].photo[None])[0]
    assert head.seen[worn] == getattr(look, worn)
    changed = (taken[row].photo - somebody.photo).abs().amax(0) > 0.1
    assert changed.any() and changed[somebody.mask == 0].float().mean() < 0.05
    assert (taken[row].mask <= somebody.mask).all()


def test_ways_differ_in_one_thing_only(somebody, taken):
    photos, lessons = lowering.photos(), lowering.lessons()
    assert {row for row, way in photos.items() if way.recipe != lowering.FULL} == set()
    assert not photos["unmasked"].photos(somebody)[0].mask.eq(0).any()
    assert [row for row, way in photos.items() if not way.masked] == ["unmasked"]
    assert [row for row, way in photos.items() if way.captioned] == ["sunglasses_told"]
    assert "sunglasses" in caption_of(taken["sunglasses_told"].scene)
    assert replace(lessons["one"].recipe, tokens=lowering.FULL.tokens) == lowering.FULL
    assert lessons["longer"].recipe.learning == replace(PRESETS[BALANCED], steps=4 * PRESETS[BALANCED].steps)


def test_a_person_is_learned_painted_and_then_done(tmp_path, monkeypatch):
    short = replace(lowering.FULL, learning=replace(PRESETS[BALANCED], steps=1, batch_size=1))
    few = dict([*PROMPTS.items()][:2])
    for module in (lowering, quality):
        monkeypatch.setattr(module, "prompts_for", lambda kind="person": few)
    monkeypatch.setattr(lowering, "FULL", short)
    monkeypatch.setattr(quality, "STEPS", 2)
    bench = quality.Bench(tmp_path, "tuning")
    before = lowering.missing(bench, PERSON)
    for job in (lowering.USES, "1"):
        lowering.work(bench, job, PERSON)
    assert set(before) - set(lowering.missing(bench, PERSON)) == {lowering.USES, "1"}
    found = load_file(lowering.series_file(bench, 1, PERSON))
    assert all(value.shape == (lowering.PICTURES, 2) for value in found.values())
    assert set(found) == {"likeness", "to_photo", "obeyed"} and not torch.equal(found["likeness"], found["to_photo"])
    rows = [bench.file(row, PERSON).exists() for row in lowering.uses()]
    assert all(rows) and len(rows) > 3
    personas = [way.apply for way in lowering.uses().values()]
    assert all(AppliedPersona(None, **settings) for settings in personas)


def series(likeness: torch.Tensor, to_photo: torch.Tensor) -> dict[str, torch.Tensor]:
    return {"likeness": likeness, "to_photo": to_photo, "obeyed": torch.ones_like(likeness)}


def test_the_picture_that_is_most_like_the_photo_is_kept():
    likeness = torch.zeros(2, 3, 4, 16)  # people, seeds, pictures, prompts
    likeness[:, :, 2] = 0.4
    assert lowering_page.best_pictures(series(likeness, likeness)).tolist() == pytest.approx([0.3, 0.3])
    assert lowering_page.best_pictures(series(likeness, -likeness)).max() < 0


def test_a_seed_that_was_lucky_in_some_pictures_gains_nothing_in_others():
    chance = torch.randn(400, 3, 4, 16, generator=torch.Generator().manual_seed(0))
    assert lowering_page.best_seeds(series(chance, chance)).mean().item() == pytest.approx(0, abs=0.01)
    better = torch.tensor([0.0, 0.0, 0.3])[None, :, None, None].expand(2, 3, 4, 16)
    assert lowering_page.best_seeds(series(better, better)).tolist() == pytest.approx([0.2, 0.2])


def test_the_page_tells_the_hardest_prompt_first_and_shows_one_person(tmp_path):
    rows = dict.fromkeys([FLOOR, CEILING, *(row for group in lowering.groups() for row in group.ways)])
    blank = Result("", 0, 0.8, 0.5, 0.4, {"scene": 0.2, "glasses": 0.5, "hat": 0.1}, passes=100)
    results = {row: {number: replace(blank, row=row, person=number) for number in (300, 301)} for row in rows}
    results["quarter"] |= {300: replace(blank, likeness=0.5), 301: replace(blank, likeness=0.7)}
    for row in results:
        results[FLOOR] = {one: replace(result, leaks={"scene": 0.1}) for one, result in results[FLOOR].items()}
        (tmp_path / f"{row}-300.json").write_text(json.dumps(asdict(results[row][300])))
        save_file({"shown": torch.zeros(17, 3, 128, 128, dtype=torch.uint8)}, tmp_path / f"{row}-300.safetensors")
    likeness = torch.linspace(0.9, 0.6, 16).expand(4, 16)
    tried = [[series(likeness, likeness)] * 3] * 2
    groups, ceiling = lowering.groups(), torch.full((2, 16), 0.8)
    lowering_page.write(tmp_path / "page.md", tmp_path / "sheets", tmp_path, groups, results, tried, ceiling)
    page = (tmp_path / "page.md").read_text()
    assert "0.600 ± 0.100 (-0.200:" in page and "in 50% of the pictures unasked" in page and "hat is in 10%" in page
    prompts = [line for line in page.splitlines() if line.startswith("| `")]
    assert list(PROMPTS)[-1].format("<ann>") in prompts[0] and "(-0.300: -0.300 to -0.300)" in prompts[0]
    assert Image.open(tmp_path / "sheets/photo.jpg").height == 130 * len(lowering_page.PHOTOS)
