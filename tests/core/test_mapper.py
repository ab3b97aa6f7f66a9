"""The stage mapper against the paper's sentences."""

import torch

from persona_core.mapper import ANCHORS, BYPASS, HIDDEN, StageMapper, learning_units, sinusoid
from persona_core.representation import TokenVectors, add_bypass
from persona_core.stages import Stages

WORD = torch.randn(48, generator=torch.Generator().manual_seed(3)) * 0.02
T = torch.tensor([400.0, 533.0, 800.0])


def scrambled(**kwargs) -> StageMapper:
    """A mapper that has left its start."""
    mapper = StageMapper(WORD, Stages(), **kwargs)
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for parameter in mapper.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    return mapper


def test_tokens_start_where_they_are_told_to_on_the_words_sphere():
    start = torch.randn(2, len(WORD), generator=torch.Generator().manual_seed(0))
    mapper = StageMapper(WORD, Stages(), 2, start=start, unit=torch.full_like(WORD, 3.0))
    torch.nn.init.normal_(mapper.head.weight, std=0.1)
    begun = StageMapper(WORD, Stages(), 2, start=start).at(T).keys
    assert torch.cosine_similarity(begun, start.expand_as(begun), dim=-1).min() > 0.9999
    torch.testing.assert_close(begun.norm(dim=-1), WORD.norm().expand(begun.shape[:2]))
    torch.testing.assert_close(mapper.exported().at(T).keys, mapper.at(T).keys)  # a file needs no start


def test_units_are_for_learning_and_a_file_needs_none():
    word, output = torch.ones(48), torch.cat([torch.full((16,), 3.0), torch.full((32,), 0.1)])
    units = learning_units(word, output, (16, 32))
    plain, scaled = scrambled(), scrambled(unit=units[0], bypass_unit=units[1])
    times = scaled.at(T).bypass / plain.at(T).bypass / BYPASS  # in each text encoder by its own spread
    torch.testing.assert_close(times, output.expand_as(times))
    for one, other in zip(scaled.exported().at(T).sides, scaled.at(T).sides):
        torch.testing.assert_close(one, other)
    torch.testing.assert_close(scaled.exported().at(T).bypass, scaled.at(T).bypass)


def test_it_starts_at_the_supercategory_word_with_no_bypass():
    vectors = StageMapper(WORD, Stages()).at(T)
    assert vectors.keys.shape == (3, 4, 48) and vectors.values is vectors.keys
    torch.testing.assert_close(vectors.keys, WORD.expand(3, 4, 48))
    assert not vectors.bypass.any()


def test_it_never_leaves_the_sphere_of_the_word_and_depends_on_t():
    vectors = scrambled().at(T).keys
    torch.testing.assert_close(vectors.norm(dim=-1), WORD.norm().expand(3, 4))
    assert (vectors[0] - vectors[1]).norm() > 0.01 * WORD.norm()


def test_each_first_output_starts_as_the_similarity_to_an_anchor_timestep():
    mapper = StageMapper(WORD, Stages(200, 600))
    anchors = torch.linspace(200, 600, ANCHORS)
    similarity = mapper.anchors(sinusoid(anchors))
    torch.testing.assert_close(similarity.diagonal(), torch.ones(ANCHORS))
    expected = torch.nn.functional.cosine_similarity(sinusoid(anchors[:1]), sinusoid(anchors))
    torch.testing.assert_close(similarity[0], expected)


def test_rows_of_a_batch_do_not_mix():
    mapper = scrambled()
    batch = mapper.at(T)
    for row, t in enumerate(T):
        torch.testing.assert_close(batch.keys[row], mapper.at(t[None]).keys[0])
        torch.testing.assert_close(batch.bypass[row], mapper.at(t[None]).bypass[0])


def test_outside_its_stage_it_stands_still():
    mapper = scrambled()
    inside, outside = mapper.at(torch.tensor([400.0, 800.0])), mapper.at(torch.tensor([12.0, 999.0]))
    assert torch.equal(inside.keys, outside.keys)


def test_the_size_is_the_published_one():
    mapper = StageMapper(torch.ones(768), Stages(), 4, torch.rand(1, 512))
    outputs = 4 * 768 * (HIDDEN + 1)
    first = 2048 * 200 + 200 + 200 * HIDDEN + HIDDEN + HIDDEN * HIDDEN + HIDDEN
    bypass = (HIDDEN + 512) * HIDDEN + HIDDEN + HIDDEN * HIDDEN + HIDDEN
    norms = 4 * 2 * HIDDEN
    assert sum(p.numel() for p in mapper.parameters()) == first + bypass + norms + 2 * outputs


def test_folding_the_image_embeddings_changes_nothing_but_what_is_kept():
    images = torch.randn(3, 24, generator=torch.Generator().manual_seed(5))
    mapper = scrambled(image_embeddings=images)
    exported = mapper.exported()
    torch.testing.assert_close(exported.at(T).bypass, mapper.at(T).bypass)
    assert torch.equal(exported.at(T).keys, mapper.at(T).keys)
    assert exported.image_embeddings is None and exported.bypass[0].weight.shape == (HIDDEN, HIDDEN)


def test_each_row_sees_its_own_picture():
    images = torch.randn(3, 24, generator=torch.Generator().manual_seed(5))
    mapper = scrambled(image_embeddings=images)
    picked = mapper.at(T[:2], torch.tensor([2, 0])).bypass
    alone = scrambled(image_embeddings=images[2:3]).at(T[:1]).bypass
    torch.testing.assert_close(picked[:1], alone)


def test_the_same_seed_is_the_same_mapper_and_the_global_random_state_is_untouched():
    before = torch.random.get_rng_state()
    one, two, other = (StageMapper(WORD, Stages(), seed=seed).time[0].weight for seed in (7, 7, 8))
    assert torch.equal(before, torch.random.get_rng_state())
    assert torch.equal(one, two) and not torch.equal(one, other)


def test_bypass_is_kept_or_dropped_a_row_at_a_time():
    vectors = TokenVectors(torch.ones(3, 2, 3), torch.ones(3, 2, 3), torch.ones(3, 2, 3))
    kept = vectors.keep_bypass(torch.tensor([True, False])).bypass
    assert kept.sum((1, 2)).tolist() == [6.0, 0.0]  # and a row that is not asked about has none
    assert TokenVectors(vectors.keys, vectors.keys).keep_bypass(torch.tensor([False])).bypass is None


def test_strength_moves_on_the_sphere_from_the_word_to_the_persona():
    vectors = scrambled().at(T)
    assert vectors.blend(WORD, 1.0) is vectors
    torch.testing.assert_close(vectors.blend(WORD, 0.0).keys, WORD.expand(3, 4, 48))
    half = vectors.blend(WORD, 0.5)
    torch.testing.assert_close(half.keys.norm(dim=-1), WORD.norm().expand(3, 4))
    torch.testing.assert_close(half.bypass, 0.5 * vectors.bypass)


def test_the_bypass_turns_a_token_and_keeps_its_length():
    generator = torch.Generator().manual_seed(0)
    hidden, bypass = torch.randn(2, 2, 5, 8, generator=generator)
    where = torch.zeros(2, 5, dtype=torch.bool)
    where[0, 1], where[1, 3:] = True, True
    moved = add_bypass(hidden, bypass, where)
    assert torch.equal(moved[~where], hidden[~where])
    torch.testing.assert_close(moved[where].norm(dim=-1), hidden[where].norm(dim=-1))
    asked, seen = (hidden + bypass)[where], moved[where]
    torch.testing.assert_close(torch.cosine_similarity(seen, asked, dim=-1), torch.ones(3))
    assert (torch.cosine_similarity(seen, hidden[where], dim=-1) < 0.99).all()
