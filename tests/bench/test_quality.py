"""The measurement measures: who is told from whom, what a leak is, and each way of learning learns what it says."""

import json
import re
from dataclasses import asdict, replace
from statistics import mean

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from bench import choices, pairs, quality, tried, ways
from bench.quality_page import against_baselines, table, who_is_lost, write
from bench.results import (
    BASELINES,
    CEILING,
    FLOOR,
    UNLEARNED,
    Result,
    baseline_of,
    difference,
    leaks,
    lost,
    out_of_reach,
    read,
)
from bench.rivals import rivals
from bench.ways import Way, caption_of
from miniworld.measuring.asking import PROMPTS
from miniworld.measuring.scoring import Examiner, Scores
from miniworld.measuring.subjects import subject
from persona_core.photos import VARIANTS
from persona_core.recipes import Beginning, StageMapperRecipe

CHANCE = {"scene": 0.1, "turn": 0.5}
BLANK = Result("", 0, 0.0, 0.9, 0.0, CHANCE, passes=100)


def results(**rows) -> dict:
    return {
        row: {n: replace(BLANK, row=row, person=n, **values) for n, values in enumerate(people)}
        for row, people in rows.items()
    }


def test_the_table_says_how_far_from_floor_to_ceiling():
    found = results(
        **{
            FLOOR: [{"likeness": 0.0}, {"likeness": 0.2}],
            CEILING: [{"likeness": 0.9}, {"likeness": 1.1}],
            "full": [{"likeness": 0.7}, {"likeness": 0.85}],
        }
    )
    assert "| 75% |" in table(found, {row: row for row in found}).splitlines()[-1]


def test_what_leaks_is_told_from_chance():
    found = results(
        **{
            FLOOR: [{}] * 2,
            "same": [{}] * 2,
            "half": [{"leaks": {"scene": 0.55, "turn": 0.5}}] * 2,
            "photo": [{"leaks": {"scene": 1.0, "turn": 1.0}}] * 2,
        }
    )
    told = {row: {kind: mean(values) for kind, values in leaks(found, row).items()} for row in found}
    assert told["same"] == pytest.approx({"scene": 0, "turn": 0})
    assert told["half"] == pytest.approx({"scene": 0.5, "turn": 0})
    assert told["photo"] == pytest.approx({"scene": 1, "turn": 1})


def test_whom_a_row_loses_and_whom_all_lose():
    found = results(
        **{
            FLOOR: [{}] * 3,
            "full": [{"likeness": 0.9}, {"likeness": 0.5}, {"likeness": 0.1}],
            "kv": [{"likeness": 0.5}, {"likeness": 0.9}, {"likeness": 0.2}],
            "cat_full": [{"likeness": 0.1}] * 3,
        }
    )
    assert lost(found["full"]) == pytest.approx(2 / 3)
    assert out_of_reach(found, ["full", "kv"]) == [2]
    assert who_is_lost(found).endswith(": 2 of 3.")


def test_a_table_of_choices_tells_how_many_are_lost_and_the_worst():
    found = results(**{FLOOR: [{}] * 3, "way": [{"likeness": 0.9}, {"likeness": 0.5}, {"likeness": 0.12}]})
    head, _, line = ways.table(found, {"way": Way("a way", StageMapperRecipe())}, "way").splitlines()
    told = dict(zip(*([cell.strip() for cell in row.split("|")] for row in (head, line))))
    assert (told["lost"], told["worst"], told["people"]) == ("67%", "0.12", "3")


def test_cats_have_a_floor_and_a_ceiling_of_their_own():
    found = results(
        **{
            FLOOR: [{"likeness": 0.0}] * 2,
            CEILING: [{"likeness": 1.0}] * 2,
            "plain_cat": [{"likeness": 0.4}] * 2,
            "named_cat": [{"likeness": 0.8}] * 2,
            "cat_full": [{"likeness": 0.6}] * 2,
        }
    )
    lines = table(found, {row: row for row in found}).splitlines()
    assert "| 50% |" in lines[-1] and lines[-1].startswith("| cat_full")


def test_rows_are_compared_with_both_baselines_at_as_many_passes():
    one, other = BASELINES
    found = results(
        **{
            one: [{"identity_if_obeyed": 0.3}] * 2,
            f"{one}_400": [{"identity_if_obeyed": 0.1, "passes": 400}] * 2,
            other: [{"identity_if_obeyed": 0.2}] * 2,
            f"{other}_400": [{"identity_if_obeyed": 0.2, "passes": 400}] * 2,
            "full": [{"identity_if_obeyed": 0.6}, {"identity_if_obeyed": 0.7}],
            "full_400": [{"identity_if_obeyed": 0.6, "passes": 400}] * 2,
            "full_50": [{"identity_if_obeyed": 0.6, "passes": 50}] * 2,
        }
    )
    assert [baseline_of(row, one, found) for row in ("full", "full_400", "full_50")] == [one, f"{one}_400", None]
    assert [baseline_of(row, other, found) for row in ("full", "full_400", "full_50")] == [other, f"{other}_400", None]
    # Differences 0.3 and 0.4: mean 0.35, standard error 0.05, t of one degree of freedom 12.706.
    assert difference(found["full"], found[one], "identity_if_obeyed") == pytest.approx((0.35, 0.635), abs=1e-3)
    assert against_baselines("full", found) == ["+0.350 (-0.285 to +0.985)", "+0.450 (-0.185 to +1.085)"]
    assert against_baselines("full_50", found) == against_baselines(one, found) == ["", ""]


def test_the_page_of_choices_compares_each_row_with_its_own_reference():
    found, better = {}, {"quick": 0.1, "names": 0.3}
    for name, group in choices.groups().items():
        scores = {
            row: [{"identity_if_obeyed": 0.5 + better.get(row, 0.0), "leaks": {"scene": 0.5}, "passes": 60}] * 2
            for row in (group.floor, *group.ways)
        }
        found[name] = results(**scores)
    differences = {}
    for section in choices.page(found).split("## ")[1:]:
        title = section.splitlines()[0]
        lines = [line.split(" | ") for line in section.splitlines() if line.startswith("| ")][2:]
        against = [cells for cells in lines if "(" not in cells[4]]
        assert len(against) == 1 and f"from *{against[0][0][2:].strip('*')}*" in section
        told = {cells[0][2:]: re.search(r"\(([+-]\d\.\d+):", cells[4]) for cells in lines}
        differences |= {(title, row): float(number[1]) for row, number in told.items() if number}
    tables = choices.groups()
    assert differences.pop((tables["presets"].title, "*quick*")) == 0.1
    assert differences.pop((tables["starts"].title, "names")) == 0.3
    assert set(differences.values()) == {0.0} and len(differences) > 20


def test_what_each_way_learns_from_and_is_told():
    plain, worn = subject(3, "tuning"), subject(3, "tuning", worn=True)
    assert (plain.scene.figures[0].look.hat, plain.scene.figures[0].look.glasses) == ("none", "none")
    look = worn.scene.figures[0].look
    assert {look.hat, look.glasses} != {"none"} and worn.who == plain.who
    said = caption_of(worn.scene)
    assert all(word in said for name in (look.hat, look.glasses) if name != "none" for word in name.split()[-1:])
    way = Way("", choices.FULL)
    assert len(way.photos(plain)) == 1 and torch.equal(way.photos(plain)[0].mask, plain.mask)
    assert replace(way, masked=False).photos(plain)[0].mask.all()
    assert len(replace(way, augmented=True).photos(plain)) == VARIANTS
    mirrored = replace(way, recipe=replace(way.recipe, mirror=True)).photos(plain)
    assert torch.equal(mirrored[1].image, mirrored[0].image.flip(1))


def test_cross_initialization_starts_at_what_the_text_encoder_makes_of_the_word():
    recipe = tried.cross_initialized(choices.FULL)
    word = torch.ones(len(recipe.made))
    made = recipe.representation(Beginning(word)).at(torch.tensor([500.0])).keys.detach()
    assert made.norm(dim=-1) == pytest.approx(word.norm().item(), abs=1e-4)
    assert torch.cosine_similarity(made, recipe.made.expand_as(made), dim=-1).min() > 0.999


def test_the_page_holds_the_table_and_a_sheet_for_every_row(tmp_path):
    titles = {FLOOR: "floor", CEILING: "ceiling", "full": "PersonaMagic", "full_100": "PersonaMagic, 100 passes"}
    shown = torch.zeros(1 + len(PROMPTS), 3, 32, 32, dtype=torch.uint8)
    for row, likeness in (("full_100", 0.5), (FLOOR, 0.0), (CEILING, 1.0), ("full", 0.8), ("other", 0.9)):
        for person in range(2):
            result = replace(BLANK, row=row, person=person, likeness=likeness)
            (tmp_path / f"{row}-{person:02}.json").write_text(json.dumps(asdict(result)))
            save_file({"shown": shown}, tmp_path / f"{row}-{person:02}.safetensors")
    found = read(tmp_path, list(titles))
    assert list(found) == list(titles)
    write(tmp_path / "docs/quality.md", found, titles, tmp_path, "at some rate", quality.examiner().figures)
    page = (tmp_path / "docs/quality.md").read_text()
    assert (
        "at some rate" in page
        and "| 80% |" in page
        and "PersonaMagic, 100 passes" in page
        and re.search(r"hat \d\d\.\d%", page)
    )
    assert "a photo of a <ann>" in page
    for row in found:
        assert f"quality/{row}.jpg" in page and Image.open(tmp_path / f"docs/quality/{row}.jpg").width == 17 * 34


@pytest.fixture
def quick(tmp_path, monkeypatch):
    """A bench that learns for a step or two and paints two prompts once."""
    monkeypatch.setattr(quality, "SEEDS", 1)
    monkeypatch.setattr(quality, "STEPS", 2)
    few = dict(list(PROMPTS.items())[:2])
    monkeypatch.setattr(quality, "prompts_for", lambda kind="person": few)
    return quality.Bench(tmp_path, "tuning", (2, 4))


def test_all_rows_of_a_rival_are_measured_before_it_counts_as_done(quick):
    quality.learn_and_judge(quick, "full", 0)
    found = read(quick.folder, list(quick.titles))
    assert list(found) == ["full_2", "full_4"] and not quick.missing("full", 0) and quick.missing("full", 1)
    assert [found[row][0].passes for row in found] == [2, 4]
    quick.file("full_4", 0).unlink()
    assert quick.missing("full", 0)


def test_rows_that_learn_nothing(quick):
    for name in UNLEARNED:
        quality.work(quick, name, 0)
    found = read(quick.folder, list(quick.titles))
    assert list(found) == list(UNLEARNED) and all(people[0].passes == 0 for people in found.values())


def test_identity_counts_only_where_the_prompt_was_obeyed(quick, monkeypatch):
    scores = Scores(
        torch.tensor([0.5, 0.5]), torch.ones(2), torch.tensor([True, False]), {"scene": torch.tensor([1.0, torch.nan])}
    )
    monkeypatch.setattr(Examiner, "score", lambda *args: scores)
    quality.judge(quick, FLOOR, 0, subject(0, "tuning"), quality.models()[1], "person")
    result = read(quick.folder, [FLOOR])[FLOOR][0]
    assert (result.likeness, result.identity_if_obeyed) == (0.5, 0.25)
    assert result.obeyed == 0 and result.leaks == {"scene": 1.0}  # the first prompt asks for nothing


def test_going_on_learns_what_learning_at_once_does():
    recipe, photo = rivals(())["full"].recipe, quality.photo_of(subject(0, "tuning"))
    parts, whole = ([*quality.learned(recipe, [photo], after)][-1] for after in ((1, 2), (2,)))
    assert parts[0] == whole[0] == 2
    at = torch.tensor([500.0])
    assert torch.equal(parts[2].representation.at(at).keys, whole[2].representation.at(at).keys)


def test_two_personas_are_painted_in_every_way(quick, monkeypatch):
    monkeypatch.setattr(pairs, "SEEDS", 1)
    monkeypatch.setattr(pairs, "STEPS", 2)
    monkeypatch.setattr(pairs, "USUAL", 2)
    for kind in pairs.KINDS:
        pairs.work(quick, kind, 0)
    found = {
        f"{kind}-{way}": [pairs.PairResult(**json.loads(quick.file(f"{kind}-{way}", 0).read_text()))]
        for kind in pairs.KINDS
        for way in pairs.ways_of(kind)
    }
    assert len(pairs.table(found).splitlines()) == 2 + len(found)
    assert all(0 <= one.missing <= 1 for [one] in found.values())
