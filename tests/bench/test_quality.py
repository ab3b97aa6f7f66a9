"""The measurement measures: who is told from whom, what a leak is, and each way of learning learns what it says."""

import json
import re
from dataclasses import asdict, replace

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from bench import presets, quality, tried
from bench.quality_page import against_baselines, table, write
from bench.results import BASELINES, CEILING, FLOOR, Result, baseline_of, difference, leak, read
from bench.rivals import ALWAYS, THIRDS, kv_recipe, rivals
from miniworld.measuring import PROMPTS, Examiner, Scores, sitter
from miniworld.world import CHOICES, render
from persona_core import training
from persona_core.losses import ALL, PLACEHOLDER, PROMPT
from persona_core.photos import Photo
from persona_core.recipes import Recipe
from persona_core.task import Objective, References, TrainingSettings, TrainingTask


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
    assert (scores.place - person.scene.pose[:, :2]).abs().mean() < 0.05
    assert set().union(*PROMPTS.values()) == set(CHOICES)  # every kind of attribute is asked for


BLANK = Result("", 0, 0.0, 0.9, 0.0, 0.2, (0.0, 0.0), (0.0, 0.0), passes=100)
PHOTOS = (-0.1, 0.0), (0.1, 0.0)


def results(**rows) -> dict:
    return {
        row: {n: replace(BLANK, row=row, person=n, photo_place=PHOTOS[n], **values) for n, values in enumerate(people)}
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


def test_what_leaks_is_told_from_chance_and_from_standing_still():
    found = results(
        **{
            FLOOR: [{"place": (0.05, 0.1)}] * 2,  # wherever photos are
            "same": [{"place": (0.05, 0.1)}] * 2,
            "still": [{"place": (0.0, 0.0)}] * 2,  # nearer to all photos, but to neither more
            "photo": [{"place": PHOTOS[0], "background": 1.0}, {"place": PHOTOS[1], "background": 1.0}],
        }
    )
    assert [sum(leak(found, row)) / 2 for row in ("same", "still", "photo")] == pytest.approx([0, 0, 1])


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


def test_the_page_of_presets_compares_each_row_with_its_own_reference():
    found = results(**{row: [{"identity_if_obeyed": 0.5, "passes": 60}] * 2 for row in presets.ways()})
    better = {"quick-4": 0.1, "published-1": 0.2, "cold-1": 0.3, "kv-paired": 0.4, "balanced-1-apart": 0.5}
    for row, more in better.items():
        found[row] = {n: replace(one, identity_if_obeyed=0.5 + more) for n, one in found[row].items()}
    lines = [line for line in presets.page(found).splitlines() if line.startswith("| ")]
    shown = [line.split(" | ") for line in lines if not line.startswith(("|  |", "| ---"))]
    assert len(shown) == len(presets.ways()) + len(presets.TRIED)  # quick stands above its trials too
    differences = {cells[0][2:]: [] for cells in shown}
    for cells in shown:
        told = re.search(r"\(([+-]\d\.\d+):", cells[-1])
        differences[cells[0][2:]].append(float(told[1]) if told else None)
        steps, rows = map(int, cells[1].split(" x "))
        assert steps * rows == int(cells[2]) == 60
    assert differences["quick"] == [0.1, -0.2, None, None]
    assert differences["balanced"] == [0.0, -0.2] and differences["no warm-up"] == [-0.1, 0.3]
    assert differences["pairs are"] == [0.0, -0.5, 0.4]
    assert differences["each picture is a look"] == [None, None, None]


def test_trials_draw_what_they_say():
    recipe = presets.persona_magic(TrainingSettings(batch_size=4), 1)
    spread = tried.spread(recipe).recipe.stages
    parts = torch.stack([spread.random(4, torch.Generator().manual_seed(seed)) for seed in range(99)])
    assert (parts.diff(dim=1) > 0).all() and parts.min() < 410 and parts.max() > 790
    task = drawing(recipe)
    with tried.rich_for_each(recipe).changes():
        draws = training.sample_batch(task, 0)
    assert len(draws.rich) == 4 and torch.equal(draws.rich_t, draws.t)
    assert len(training.sample_batch(task, 0).rich) == 1
    for trial, looks in ((tried.apart, 4), (tried.paired, 2), (tried.opposite, 2)):
        for asked in (recipe, kv_recipe(recipe.learning)):
            assert len(training.sample_batch(drawing(trial(asked).recipe), 0).t.unique()) == looks
    trial = tried.opposite(recipe)
    with trial.changes():
        noise = training.sample_batch(drawing(trial.recipe), 0).noise
    assert torch.equal(noise[::2], -noise[1::2]) and not torch.equal(noise[0], noise[2])


def drawing(recipe: Recipe) -> TrainingTask:
    """What draws need of it."""
    references = References(torch.zeros(1, 4, 2, 2), torch.ones(1, 1, 2, 2))
    objective = Objective({}, ["a {}"], ["{} reads", "{} runs"])
    representation = recipe.representation(torch.ones(8), None)
    return TrainingTask(representation, references, None, None, objective, recipe.learning)


def test_where_the_loss_is_large_is_looked_more_often():
    trial = tried.by_loss(presets.persona_magic(TrainingSettings(batch_size=4), 1))
    stages, progress = trial.recipe.stages, training.Progress({"noise": []})
    for part in range(tried.PARTS):
        stages.parts[:] = [part]
        progress.losses["noise"].append(9.0 if part == tried.PARTS - 1 else 1.0)
        trial.on_step(progress)
    t = torch.cat([stages.random(4, torch.Generator().manual_seed(seed)) for seed in range(200)])
    last = stages.t_hi - (stages.t_hi + 1 - stages.t_lo) / tried.PARTS
    assert (t > last).float().mean() == pytest.approx(9 / 16, abs=0.05)


def test_the_page_holds_the_table_and_a_sheet_for_every_row(tmp_path, examiner):
    titles = {FLOOR: "floor", CEILING: "ceiling", "full": "PersonaMagic", "full_50": "PersonaMagic, 50 steps"}
    shown = torch.zeros(1 + len(PROMPTS), 3, 32, 32, dtype=torch.uint8)
    for row, likeness in (("full_50", 0.5), (FLOOR, 0.0), (CEILING, 1.0), ("full", 0.8), ("other", 0.9)):
        for person in range(2):
            result = replace(BLANK, row=row, person=person, likeness=likeness, photo_place=PHOTOS[person])
            (tmp_path / f"{row}-{person:02}.json").write_text(json.dumps(asdict(result)))
            save_file({"shown": shown}, tmp_path / f"{row}-{person:02}.safetensors")
    found = read(tmp_path, list(titles))
    assert list(found) == list(titles)
    write(tmp_path / "docs/quality.md", found, titles, tmp_path, "100 steps", examiner.figures)
    page = (tmp_path / "docs/quality.md").read_text()
    assert (
        "100 steps" in page and "| 80% |" in page and "PersonaMagic, 50 steps" in page and "a photo of a <ann>" in page
    )
    for row in found:
        assert f"quality/{row}.png" in page and Image.open(tmp_path / f"docs/quality/{row}.png").width == 9 * 34 * 2


@pytest.fixture
def quick(tmp_path, monkeypatch):
    """A bench that learns for two steps and paints each prompt once."""
    monkeypatch.setattr(quality, "SETTINGS", TrainingSettings(1, 1e-3, 1))
    monkeypatch.setattr(quality, "SEEDS", 1)
    monkeypatch.setattr(quality, "STEPS", 2)
    return quality.Bench(tmp_path, budgets=(2,))


def test_all_rows_of_a_rival_are_measured_before_it_counts_as_done(quick):
    quality.learn_and_judge(quick, "full", 0)
    found = read(quick.folder, list(quick.titles))
    assert list(found) == ["full", "full_2"] and not quick.missing("full", 0) and quick.missing("full", 1)
    assert [found[row][0].passes for row in found] == [1, 2]
    quick.file("full_2", 0).unlink()
    assert quick.missing("full", 0)


def test_identity_counts_only_where_the_prompt_was_obeyed(quick, monkeypatch):
    obeyed = torch.tensor([True] * 4 + [False] * 4)
    scores = Scores(torch.full((8,), 0.5), obeyed, torch.full((8,), 0.2), torch.tensor([[0.1, 0.3]]).expand(8, 2))
    monkeypatch.setattr(Examiner, "score", lambda *args: scores)
    quality.judge(quick, FLOOR, 0, sitter(0), quality.models()[1], "face")
    result = read(quick.folder, [FLOOR])[FLOOR][0]
    assert (result.likeness, result.identity_if_obeyed) == (0.5, 0.25)
    assert result.obeyed == pytest.approx(3 / 7)  # the first prompt asks for nothing
    assert result.place == pytest.approx([0.1, 0.3])


def test_going_on_learns_what_learning_at_once_does():
    recipe, person = rivals(TrainingSettings(2, 1e-3, 1), 0.3, ())["full"].recipe, sitter(0)
    photo = Photo(person.photo.movedim(0, -1), person.mask)
    parts, whole = ([*quality.learned(recipe, [photo], after)][-1] for after in ((1, 2), (2,)))
    assert parts[0] == whole[0] == 2
    at = torch.tensor([500.0])
    assert torch.equal(parts[2].representation.at(at).keys, whole[2].representation.at(at).keys)


def test_a_staged_vector_stands_in_the_middle_stage_alone():
    word = torch.tensor([1.0, 0.0])
    learned = rivals(TrainingSettings(), 0.3, ())["staged_inversion"].recipe.representation(word, None)
    torch.nn.init.constant_(learned.vector, 2.0)
    t = torch.tensor([0.0, 399.0, 400.0, 800.0, 801.0, 999.0])
    assert (learned.at(t).keys == 2).all()  # while it is learned
    staged = learned.exported()
    assert torch.equal((staged.at(t).values[:, 0] == 2).all(1), torch.tensor([False, False, True, True, False, False]))
    assert all(torch.equal(staged.at(torch.tensor([staged.clamped(x)])).keys, staged.at(x[None]).keys) for x in t)


def test_every_rival_starts_at_the_word_and_differs_in_what_it_says():
    rows = rivals(TrainingSettings(steps=200), 0.3, (50, 400))
    word = torch.randn(96, generator=torch.Generator().manual_seed(0))
    word = word / word.norm()
    t = torch.tensor([0, 400, 999])
    for name, rival in rows.items():
        vectors = rival.recipe.representation(word, None).at(t)
        assert torch.allclose(vectors.keys, word.expand_as(vectors.keys), atol=1e-6), name
        assert torch.allclose(vectors.values, word.expand_as(vectors.values), atol=1e-6), name
        assert (vectors.bypass is None) == (name.endswith("inversion") or name == "no_bypass" or name.startswith("kv"))
    assert rows["full"].after == (50, 200, 400)
    assert rows["full"].rows("full") == {"full_50": 50, "full": 200, "full_400": 400}
    assert [rows[name].recipe.tokens for name in ("n1", "n2", "full", "n8")] == [1, 2, 4, 8]
    assert (rows["no_stages"].recipe.stages, rows["thirds"].recipe.stages) == (ALWAYS, THIRDS)
    assert rows["weak_te"].recipe.te_weight == 1e-3 and [n for n in rows if rows[n].looked_up] == ["partition"]
    assert (
        rows["no_stages"].recipe.stages.t_hi == 999 and not rows["no_mask"].masked and rows["no_mask"].recipe.te_weight
    )
    assert rows["no_te"].recipe.te_weight == 0 == rows["textual_inversion"].recipe.te_weight
    assert [rows[name].recipe.pairs for name in ("kv_1", "kv", "kv_10")] == [1, 5, 10]
    weights = {"attention": 3e-3, "kv": 3e-3, "kv_off": 0.0, "kv_off_unmasked": 0.0, "kv_weak": 3e-4, "kv_strong": 3e-2}
    assert {name: rows[name].recipe.attention_weight for name in weights} == weights
    of = {"kv": ALL, "kv_prompt": PROMPT, "kv_placeholder": PLACEHOLDER}
    assert {name: rows[name].recipe.attention_tokens for name in of} == of
    unmasked = {"no_mask", "kv_unmasked", "kv_off_unmasked", *(name for name in rows if name.endswith("inversion"))}
    assert {name for name in rows if not rows[name].masked} == unmasked
    assert [name for name in rows if rows[name].augmented] == ["kv_augmented"]
    assert rows["kv_te"].recipe.te_weight == 0.3 and rows["kv"].recipe.te_weight == 0
    free = rows["no_sphere"].recipe.representation(word, None)
    bound = rows["full"].recipe.representation(word, None)
    for mapper in (free, bound):
        torch.nn.init.normal_(mapper.head.weight, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(bound.at(t).keys.norm(dim=-1), torch.ones(3, 4), atol=1e-5)
    assert (free.at(t).keys.norm(dim=-1) > 1.5).all()


def test_rivals_of_one_side_move_only_that_side():
    word, t = torch.ones(64), torch.tensor([100.0, 900.0])
    rows = rivals(TrainingSettings(), 0.3, ())
    for name, moved, still in (("kv_keys", "keys", "values"), ("kv_values", "values", "keys")):
        expander = rows[name].recipe.representation(word, None)
        torch.nn.init.normal_(expander.encoders[0].offsets, generator=torch.Generator().manual_seed(0))
        vectors = expander.at(t)
        assert (getattr(vectors, still) == word).all() and (getattr(vectors, moved) != word).any(-1).all()
    mapper = rows["dynamic_kv"].recipe.representation(word, None)
    torch.nn.init.normal_(mapper.value_head.weight, generator=torch.Generator().manual_seed(0))
    vectors = mapper.at(t)
    torch.testing.assert_close(vectors.keys, word.expand_as(vectors.keys))
    assert (vectors.values != word).any(-1).all()
