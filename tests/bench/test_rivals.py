"""Each way of learning learns what it says."""

import torch

from bench.rivals import ALWAYS, USUAL, rivals


def test_a_staged_vector_stands_in_the_middle_stage_alone():
    word = torch.tensor([1.0, 0.0])
    learned = rivals(())["staged_inversion"].recipe.representation(word, None)
    torch.nn.init.constant_(learned.vector, 2.0)
    t = torch.tensor([0.0, 399.0, 400.0, 800.0, 801.0, 999.0])
    assert (learned.at(t).keys == 2).all()  # while it is learned
    staged = learned.exported()
    assert torch.equal((staged.at(t).values[:, 0] == 2).all(1), torch.tensor([False, False, True, True, False, False]))
    assert all(torch.equal(staged.at(torch.tensor([staged.clamped(x)])).keys, staged.at(x[None]).keys) for x in t)


def test_every_rival_starts_at_the_word_and_differs_in_what_it_says():
    rows = rivals((100, USUAL, 1000))
    word = torch.nn.functional.normalize(torch.randn(96, generator=torch.Generator().manual_seed(0)), dim=0)
    t = torch.tensor([0, 400, 999])
    for name, rival in rows.items():
        vectors = rival.recipe.representation(word, None).at(t)
        assert torch.allclose(vectors.keys, word.expand_as(vectors.keys), atol=1e-6), name
        assert torch.allclose(vectors.values, word.expand_as(vectors.values), atol=1e-6), name
        assert (vectors.bypass is None) == (
            name.endswith("inversion") or name == "no_bypass" or "kv" in name.split("_")[:2] and name != "dynamic_kv"
        ), name
    assert rows["full"].rows("full") == {"full_100": 100, "full": USUAL, "full_1000": 1000}
    assert rows["no_te"].rows("no_te") == {"no_te": USUAL}
    assert [rows[name].recipe.tokens for name in ("n1", "n2", "full")] == [1, 2, 4]
    assert rows["no_stages"].recipe.stages == ALWAYS and [n for n in rows if rows[n].looked_up] == ["partition"]
    assert not rows["no_mask"].masked and rows["no_mask"].recipe.te_weight
    assert rows["no_te"].recipe.te_weight == 0 == rows["textual_inversion"].recipe.te_weight
    assert [rows[name].recipe.pairs for name in ("kv_1", "kv")] == [1, 5]
    weights = {"attention": 3e-3, "kv": 3e-3, "kv_off": 0.0}
    assert {name: rows[name].recipe.attention_weight for name in weights} == weights
    unmasked = {"no_mask", "kv_unmasked", *(name for name in rows if name.endswith("inversion"))}
    assert {name for name in rows if not rows[name].masked} == unmasked
    assert [name for name in rows if rows[name].augmented] == ["kv_augmented"]
    cats = {name: rival for name, rival in rows.items() if rival.kind == "cat"}
    assert set(cats) == {"cat_inversion", "cat_full", "cat_kv"}
    assert {rival.recipe.supercategory for rival in rows.values() if rival.kind == "person"} == {"person"}
    assert {rival.recipe.supercategory for rival in cats.values()} == {"cat"}


def test_rivals_of_one_side_move_only_that_side():
    word, t = torch.ones(64), torch.tensor([100.0, 900.0])
    rows = rivals(())
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
