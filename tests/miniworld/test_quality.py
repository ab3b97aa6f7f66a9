"""The measurement measures: who is told from whom, what a leak is, and each way of learning learns what it says."""

import json
from dataclasses import asdict, replace

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from persona_core.learning import LearningSettings
from tests.miniworld.measuring import PROMPTS, Examiner, sitter
from tests.miniworld.quality_page import BASELINE, CEILING, FLOOR, Result, difference, leak, read, table, write
from tests.miniworld.rivals import rivals
from tests.miniworld.world import CHOICES, render


@pytest.fixture(scope="module")
def examiner():
    return Examiner()


def test_a_person_is_told_from_others_whatever_they_wear(examiner):
    people = [sitter(number) for number in range(12)]
    disguised = torch.cat([render(p.scene.having(hat="blue", glasses="round", background="red"))[0] for p in people])
    likeness = torch.stack([examiner.likeness(disguised, person) for person in people])
    same = likeness.diagonal()
    others = likeness[~torch.eye(12, dtype=torch.bool)]
    assert same.mean() > 0.9 and others.mean().abs() < 0.2
    assert (likeness.argmax(0) == torch.arange(12)).all()


def test_what_was_asked_for_is_seen(examiner):
    person = sitter(0)
    shown = torch.cat([render(person.scene.having(**asked))[0] for asked in PROMPTS.values()])
    scores = examiner.score(shown, list(PROMPTS.values()), person)
    assert scores.obeyed.all()
    assert not examiner.score(shown, [{"hat": "black"}] * len(shown), person).obeyed.any()
    asked = torch.tensor(["background" in want for want in PROMPTS.values()])
    assert scores.background.isnan().equal(asked) and (scores.background[~asked] == 1).all()
    assert scores.distance.mean() < 0.01
    assert set().union(*PROMPTS.values()) == set(CHOICES)  # every kind of attribute is asked for


def results(**rows) -> dict:
    blank = Result("", 0, 0.0, 0.9, 0.0, 0.2, 0.1)
    return {
        row: {n: replace(blank, row=row, person=n, **values) for n, values in enumerate(people)}
        for row, people in rows.items()
    }


def test_the_table_says_how_far_from_floor_to_ceiling_and_what_leaks():
    found = results(
        **{
            FLOOR: [{"likeness": 0.0}, {"likeness": 0.2}],
            CEILING: [{"likeness": 0.9}, {"likeness": 1.1}],
            BASELINE: [{"identity_if_obeyed": 0.3, "background": 1.0, "distance": 0.0}] * 2,
            "full": [{"likeness": 0.7, "identity_if_obeyed": 0.6}, {"likeness": 0.85, "identity_if_obeyed": 0.7}],
        }
    )
    known = {FLOOR: "floor", CEILING: "ceiling", BASELINE: "TI", "full": "PersonaMagic"}
    assert leak(found, FLOOR) == [0, 0] and leak(found, "full") == [0, 0]
    assert leak(found, BASELINE) == pytest.approx([1, 1])
    # Differences 0.3 and 0.4: mean 0.35, standard error 0.05, t of one degree of freedom 12.706.
    assert difference(found["full"], found[BASELINE], "identity_if_obeyed") == "+0.350 (-0.285 to +0.985)"
    assert "| 75% |" in table(found, known).splitlines()[-1]


def test_rows_are_compared_at_the_same_number_of_steps():
    found = results(
        **{
            FLOOR: [{"likeness": 0.0}] * 2,
            CEILING: [{"likeness": 1.0}] * 2,
            BASELINE: [{"identity_if_obeyed": 0.3, "steps": 100}] * 2,
            f"{BASELINE}_400": [{"identity_if_obeyed": 0.1, "steps": 400}] * 2,
            "full": [{"identity_if_obeyed": 0.6, "steps": 100}] * 2,
            "full_400": [{"identity_if_obeyed": 0.6, "steps": 400}] * 2,
        }
    )
    lines = table(found, {BASELINE: "TI", "full": "PersonaMagic", FLOOR: "floor", CEILING: "ceiling"}).splitlines()
    assert [line.count("+0.") for line in lines[2:]] == [0, 0, 0, 0, 3, 3]
    assert "| +0.300 (" in lines[-2] and "| +0.500 (" in lines[-1]


def test_the_page_holds_the_table_and_a_sheet_for_every_row(tmp_path, examiner):
    known = {FLOOR: "floor", CEILING: "ceiling", "full": "PersonaMagic"}
    shown = torch.zeros(1 + len(PROMPTS), 3, 32, 32, dtype=torch.uint8)
    for row, likeness in ((FLOOR, 0.0), (CEILING, 1.0), ("full", 0.8), ("full_50", 0.5)):
        for person in range(2):
            result = Result(row, person, likeness, 0.9, likeness, 0.2, 0.1, steps=50 if row == "full_50" else 100)
            (tmp_path / f"{row}-{person:02}.json").write_text(json.dumps(asdict(result)))
            save_file({"shown": shown}, tmp_path / f"{row}-{person:02}.safetensors")
    found = read(tmp_path, known)
    assert list(found) == [FLOOR, CEILING, "full", "full_50"]
    write(tmp_path / "docs/quality.md", found, known, tmp_path, "100 steps", examiner.figures)
    page = (tmp_path / "docs/quality.md").read_text()
    assert "100 steps" in page and "| 80% |" in page and "PersonaMagic, 50 steps" in page and "a photo of a <ann>" in page
    for row in found:
        assert f"quality/{row}.png" in page and Image.open(tmp_path / f"docs/quality/{row}.png").width == 9 * 34 * 2


def test_every_rival_starts_at_the_word_and_differs_in_what_it_says():
    rows = rivals(LearningSettings(steps=200), 0.3, (50, 400))
    word = torch.randn(96, generator=torch.Generator().manual_seed(0))
    word = word / word.norm()
    t = torch.tensor([0, 400, 999])
    for name, rival in rows.items():
        vectors = rival.recipe.representation(word, None).at(t)
        assert torch.allclose(vectors.keys, word.expand_as(vectors.keys), atol=1e-6), name
        assert (vectors.bypass is None) == (name.endswith("inversion") or name == "no_bypass")
    assert rows["full"].after == (50, 200, 400) and rows["n8"].recipe.tokens == 8
    assert rows["no_stages"].recipe.stages.t_hi == 999 and not rows["no_mask"].masked and rows["no_mask"].recipe.te_weight
    assert rows["no_te"].recipe.te_weight == 0 == rows["textual_inversion"].recipe.te_weight
    free = rows["no_sphere"].recipe.representation(word, None)
    bound = rows["full"].recipe.representation(word, None)
    for mapper in (free, bound):
        torch.nn.init.normal_(mapper.head.weight, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(bound.at(t).keys.norm(dim=-1), torch.ones(3, 4), atol=1e-5)
    assert (free.at(t).keys.norm(dim=-1) > 1.5).all()


