"""K/V tokens: how they start, which stage holds when, what is kept."""

import pytest
import torch

from persona_core.files import PersonaFileError
from persona_core.kv_tokens import KVTokens, TokenExpander, first_timestep, stage_of
from persona_core.persona import Persona
from persona_core.table import AppliedPersona, plan

WORD = torch.randn(768, generator=torch.Generator().manual_seed(0)) * 0.02


def tokens(count=5):
    return KVTokens(WORD, torch.randn(count, 2, 768, generator=torch.Generator().manual_seed(count)))


@pytest.mark.parametrize("count", [1, 5, 10])
def test_every_token_starts_at_the_word(count):
    expander = TokenExpander(WORD, count)
    torch.testing.assert_close(expander.expand(), WORD.expand(count, 2, 768))


@pytest.mark.parametrize("width", [64, 768])
def test_tokens_go_their_own_ways_as_fast_in_a_wide_encoder_as_in_a_narrow_one(width):
    draw = torch.Generator().manual_seed(1)
    word, shared = torch.randn(2, width, generator=draw) * 0.02
    target = torch.randn(5, 2, width, generator=draw) + 50 * shared
    expander = TokenExpander(word)
    optimizer = torch.optim.Adam(expander.parameters(), 5e-3)
    for _ in range(60):
        optimizer.zero_grad()
        (1 - torch.cosine_similarity(expander.expand(), target, dim=-1)).mean().backward()
        optimizer.step()
    learned = expander.expand().detach()
    assert torch.cosine_similarity(learned, target, dim=-1).min() > 0.8
    assert torch.cosine_similarity(learned[:, 0], learned[:, 1], dim=-1).max() < 0.8
    assert torch.allclose(learned.norm(dim=-1), word.norm())
    assert all(parameter.grad.any() for parameter in expander.parameters())


def test_a_timestep_teaches_its_own_stages_pair():
    for side, stage in (("keys", 0), ("values", 2)):
        expander = TokenExpander(WORD, 5)
        # The sum alone would not change on the sphere.
        getattr(expander.at(torch.tensor([100 + 200 * stage])), side)[0, 0, 0].backward()
        taught = expander.encoders[0].offsets.grad.abs().sum(1).nonzero().flatten().tolist()
        assert taught == [2 * stage + (side == "values")]


@pytest.mark.parametrize("part", [(slice(None), slice(1)), (slice(0),), (0,)])
def test_vectors_of_another_shape_are_a_damaged_file(tmp_path, part):
    kept = tokens()
    path = Persona("ann", kept, "SD1.x", "person").save(tmp_path / "ann.safetensors")
    kept.vectors = kept.vectors[part]
    broken = Persona("ann", kept, "SD1.x", "person").save(tmp_path / "broken.safetensors")
    assert Persona.load(path).name == "ann"
    with pytest.raises(PersonaFileError, match="damaged persona: its? .*(vectors|pairs)"):
        Persona.load(broken)


def test_the_same_seed_starts_alike_and_the_global_one_is_left_alone():
    state = torch.get_rng_state()
    one, two, other = (TokenExpander(WORD, seed=seed).encoders[0].feed_forward[0].weight for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(one, two) and not torch.equal(one, other)


@pytest.mark.parametrize("count", [1, 3, 5, 7, 10])
def test_stages_are_even_and_meet_without_a_gap(count):
    stages = [min(t * count // 1000, count - 1) for t in range(1000)]
    assert stage_of(torch.arange(1000), count).tolist() == stages
    assert [first_timestep(stage, count) for stage in range(count)] == [stages.index(s) for s in range(count)]
    assert stage_of(torch.tensor([-1.0, 1000.0]), count).tolist() == [0, count - 1]


def test_each_timestep_gets_its_stages_pair():
    kept = tokens()
    found = kept.at(torch.tensor([0, 199, 200, 999]))
    assert found.bypass is None and found.keys.shape == (4, 1, 768)
    assert torch.equal(found.keys[:, 0], kept.vectors[[0, 0, 1, 4], 0])
    assert torch.equal(found.values[:, 0], kept.vectors[[0, 0, 1, 4], 1])


def test_the_table_has_one_context_a_stage():
    applied = AppliedPersona(Persona("ann", tokens(), "SD1.x", "person"))
    segments = plan([applied])
    assert [(s.after, s.until, s.grid) for s in segments] == [
        (first - 0.5, first + 199.5, (first,)) for first in (0, 200, 400, 600, 800)
    ]
    vectors = applied.vectors(399.0)
    assert torch.equal(vectors.keys[0, 0], tokens().vectors[1, 0])


def test_only_the_vectors_are_kept_and_they_are_small(tmp_path):
    expander = TokenExpander(WORD, 5)
    torch.nn.init.normal_(
        expander.encoders[0].feed_forward[-1].weight, std=0.01, generator=torch.Generator().manual_seed(1)
    )
    losses = dict.fromkeys(("noise", "equilibrium", "attention"), [0.123456] * 1000)
    persona = Persona("ann", expander, "SD1.x", "person", {}, losses)
    path = persona.save(tmp_path / "ann.safetensors")
    assert path.stat().st_size <= 40_000
    read = Persona.load(path)
    assert isinstance(read.representation, KVTokens)
    torch.testing.assert_close(read.representation.vectors, expander.expand().detach(), atol=1e-3, rtol=1e-3)
