"""Each way of learning learns what it says."""

import torch

from bench.rivals import ALWAYS, USUAL, rivals
from persona_core.recipes import Beginning


def test_every_rival_starts_at_the_word_and_differs_in_what_it_says():
    rows = rivals((100, USUAL, 1000, 2000))
    word = torch.nn.functional.normalize(torch.randn(96, generator=torch.Generator().manual_seed(0)), dim=0)
    t = torch.tensor([0, 400, 999])
    for name, rival in rows.items():
        vectors = rival.recipe.representation(Beginning(word)).at(t)
        assert torch.allclose(vectors.keys, word.expand_as(vectors.keys), atol=1e-6), name
        assert torch.allclose(vectors.values, word.expand_as(vectors.values), atol=1e-6), name
        assert (vectors.bypass is None) == (name.endswith("inversion") or name == "kv"), name
    assert rows["full"].rows("full") == {"full_100": 100, "full": USUAL, "full_1000": 1000, "full_2000": 2000}
    assert list(rows["careful_inversion"].passes) == [100, USUAL, 1000]
    assert rows["textual_inversion"].passes == (100, USUAL) == rows["kv"].passes
    assert rows["no_te"].rows("no_te") == {"no_te": USUAL}
    assert [rows[name].recipe.tokens for name in ("n1", "n2", "full")] == [1, 2, 4]
    assert rows["no_stages"].recipe.stages == ALWAYS and [n for n in rows if rows[n].looked_up] == ["partition"]
    assert not rows["no_mask"].masked and rows["no_mask"].recipe.te_weight
    assert rows["no_te"].recipe.te_weight == 0 == rows["textual_inversion"].recipe.te_weight
    assert {rival.recipe.attention_weight for rival in rows.values()} == {0.0}
    unmasked = {"no_mask", *(name for name in rows if name.endswith("inversion"))}
    assert {name for name in rows if not rows[name].masked} == unmasked
    cats = {name: rival for name, rival in rows.items() if rival.kind == "cat"}
    assert set(cats) == {"cat_inversion", "cat_full"}
    assert {rival.recipe.supercategory for rival in rows.values() if rival.kind == "person"} == {"person"}
    assert {rival.recipe.supercategory for rival in cats.values()} == {"cat"}
