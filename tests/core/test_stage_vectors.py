"""What a stage mapper says as a few patterns: small, and as near to the mapper as TOLERANCE, whatever was learned."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save

from persona_core.files import PersonaFileError
from persona_core.going_on import check_goes_on
from persona_core.mapper import StageMapper, learning_units
from persona_core.persona import Persona
from persona_core.recipes import StageMapperRecipe
from persona_core.stage_vectors import STEPS, TOLERANCE, StageVectors
from persona_core.stages import GRID, Stages

SETTINGS = {f"setting number {n}": "as the artist chose it" for n in range(20)}

STAGES, WAVES = Stages(), 6


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def learned(width=768, tokens=4, stages=STAGES, widths=(), steps=150, images=None) -> StageMapper:
    """A mapper that learned somebody by AdamW: as far from the word as learned ones are, another at each end of the
    stage by an eighth of that, and in ever finer waves between."""
    word = 0.014 * noise(width)
    units = learning_units(word, torch.ones(width), widths)
    mapper = StageMapper(word, stages, tokens, images, widths=widths, unit=units[0], bypass_unit=units[1])
    optimizer = torch.optim.AdamW(mapper.parameters(), 1e-3)
    goals, chance = noise(2, WAVES, tokens, width, seed=1), torch.Generator().manual_seed(2)
    for _ in range(steps):
        t = stages.random(4, chance).float()
        way = (t - stages.t_lo) / (stages.t_hi - stages.t_lo)
        waves = torch.stack([(torch.pi * wave * way).cos() / max(1, 15 * wave) for wave in range(WAVES)], 1)
        (keys, bypass), vectors = torch.einsum("bw,swnd->sbnd", waves, goals), mapper.at(t)
        wrong = (vectors.keys - word) / 0.014 - keys, vectors.bypass / units[1] - bypass
        sum(one.square().mean() for one in wrong).backward()
        optimizer.step()
        optimizer.zero_grad()
    return mapper.requires_grad_(False)


def scrambled(width=768, tokens=4, by=0.1, anchors=0.5) -> StageMapper:
    """One that no learning ends at: it changes within few timesteps."""
    mapper = StageMapper(0.014 * noise(width), Stages(), tokens).requires_grad_(False)
    for seed, (name, parameter) in enumerate(mapper.named_parameters()):
        parameter += (anchors if "anchors" in name else by) * noise(*parameter.shape, seed=seed)
    return mapper


def jumping() -> StageMapper:
    """One whose bypass turns about within a timestep: between whole timesteps it cannot be told, at them it can."""
    mapper = scrambled(width=32, tokens=1)
    mapper.anchors.weight.mul_(300)
    return mapper


def persona_of(representation, steps=1000, tokens=4) -> Persona:
    losses = {name: (noise(steps) ** 2).tolist() for name in ("noise", "equilibrium")}
    return Persona("ann", representation, "custom (clip_l)", "face", SETTINGS, losses, "0123456789abcdef" * 2)


def from_file(persona, tmp_path) -> StageVectors:
    return Persona.load(persona.save(tmp_path / "ann.safetensors")).representation


def errors(one, mapper, t):
    """How far the vectors are from the mapper's, in how far those are from the word; of the bypass, in its size."""
    ours, its = one.at(t), mapper.at(t)
    for mine, other, start in ((ours.keys, its.keys, mapper.initializers), (ours.bypass, its.bypass, 0.0)):
        yield ((mine - other).flatten(1).norm(dim=1) / (other - start).flatten(1).norm(dim=1)).max()


@pytest.mark.parametrize("mapper", [learned, scrambled, lambda: learned(stages=Stages(3, 999)), jumping])
def test_it_says_what_the_mapper_says_at_every_timestep(mapper, tmp_path):
    mapper = mapper()
    kept, stages = from_file(persona_of(mapper).small(), tmp_path), mapper.stages
    assert isinstance(kept, StageVectors)
    every = torch.arange(stages.t_lo, stages.t_hi + 1).float()
    assert max(errors(kept, mapper, every)) < 1.2 * TOLERANCE
    assert torch.equal(kept.at(torch.tensor([0.0, 1200.0])).keys, kept.at(every[[0, -1]]).keys)
    vectors = kept.at(every)
    assert vectors.values is vectors.keys  # one pass of the text encoder serves both


def test_between_timesteps_too(tmp_path):
    mapper = learned()
    kept = from_file(persona_of(mapper).small(), tmp_path)
    assert max(errors(kept, mapper, torch.linspace(400, 800, 1234))) < 1.2 * TOLERANCE


@pytest.mark.parametrize(("tokens", "most"), [(4, 100_000), (1, 30_000)])
def test_a_file_is_as_small_as_promised(tokens, most):
    persona = persona_of(learned(tokens=tokens))
    assert len(persona.to_bytes()) > 1_000_000 and len(persona.small().to_bytes()) <= most


def test_several_text_encoders_count_alike(tmp_path):
    """One whose words are a thousandth as long is not lost beside the other."""
    mapper = StageMapper(torch.cat([1e-3 * noise(32), noise(64)]), Stages(), 2, widths=(32, 64)).requires_grad_(False)
    scale = torch.cat([1e-3 * torch.ones(32), torch.ones(64)]).repeat(2)[:, None]
    mapper.head.weight.copy_(0.05 * noise(*mapper.head.weight.shape) * scale)
    mapper.bypass_head.weight.copy_(noise(*mapper.bypass_head.weight.shape, seed=1) * scale)
    kept = from_file(persona_of(mapper).small(), tmp_path)
    t = torch.arange(400.0, 801.0)
    for ours, its in zip(kept.at(t).split((32, 64)), mapper.at(t).split((32, 64)), strict=True):
        for mine, other, size in ((ours.keys, its.keys, its.keys.std()), (ours.bypass, its.bypass, its.bypass.std())):
            assert (mine - other).square().mean().sqrt() < 2 * TOLERANCE * size


@pytest.mark.parametrize("share", [1e-2, 1e-4])
def test_who_has_hardly_moved_is_kept_as_well(share, tmp_path):
    """fp16 has few small numbers, and the word itself is rounded in the file."""
    mapper = learned(steps=3)
    for head in (mapper.head, mapper.bypass_head):
        head.weight.mul_(share), head.bias.mul_(share)
    mapper.word.copy_(mapper.word.half().float())
    kept = from_file(persona_of(mapper).small(), tmp_path)
    assert max(errors(kept, mapper, torch.arange(400.0, 801.0))) < 4 * TOLERANCE


def test_a_persona_that_is_its_word_stays_it(tmp_path):
    mapper = StageMapper(0.014 * noise(768), Stages())
    kept, t = from_file(persona_of(mapper).small(), tmp_path), torch.tensor([450.0])
    torch.testing.assert_close(kept.at(t).keys, mapper.at(t).keys, atol=1e-5, rtol=1e-3)
    assert not kept.at(t).bypass.any()


def test_it_is_the_same_persona_in_and_from_a_file(tmp_path):
    small = persona_of(learned(tokens=2)).small()
    again = Persona.load(small.save(tmp_path / "ann.safetensors"))
    assert again.learned == small.learned and again.small().learned == small.learned
    assert again.representation.facts()["dynamic stage"] == "400 to 800"
    assert replace(small, representation=learned(tokens=2)).small().learned == small.learned


def test_the_points_that_prompts_are_encoded_at_are_kept_ones():
    assert GRID % STEPS[0] == 0
    kept = StageVectors.of(learned(width=32, stages=Stages(310, 727)))
    assert {*range(310, 727, GRID), 727} <= {*kept.kept.int().tolist()}


@pytest.mark.parametrize(
    "changes",
    [
        {"stages": json.dumps([400, 801])}, {"stages": json.dumps([400, 900])}, {"tokens": "1"},
        {"offsets.shares": torch.zeros(80, 5)}, {"offsets.shares": torch.zeros(81, 200)}, {"bypass.shares": torch.zeros(401, 5)},
        {"bypass.patterns": torch.zeros(90, 2, 32)}, {"bypass.patterns": torch.zeros(0, 2, 32)}, {"word": torch.zeros(16)},
    ],
)  # fmt: skip
def test_counts_that_do_not_fit_are_refused_from_the_header(changes, tmp_path):
    persona = persona_of(learned(width=32, tokens=2)).small()
    tensors, metadata = persona.parts()
    path = tmp_path / "ann.safetensors"
    path.write_bytes(save(tensors, metadata))
    Persona.load(path)
    for name, value in changes.items():
        (metadata if isinstance(value, str) else tensors)[name] = value
    path.write_bytes(save(tensors, metadata))
    with pytest.raises(PersonaFileError, match="is a damaged persona"):
        Persona.load(path)


def test_a_mapper_from_a_file_is_what_learning_goes_on_from():
    """Units, where tokens start and the image embeddings are of learning: a file has none of them."""
    t, images = torch.arange(400.0, 801.0, 50), noise(2, 24, seed=5)
    kept = learned(width=48, tokens=2, images=images).exported()
    word, start = kept.word, noise(2, 48, seed=6)
    units = learning_units(word, 3 * torch.ones(48))
    for given in ({}, {"image_embeddings": images}):
        mapper = StageMapper(word, Stages(), 2, unit=units[0], start=start, bypass_unit=units[1], **given)
        assert (mapper.at(t).keys - kept.at(t).keys).norm() > 0.1 * kept.at(t).keys.norm()
        mapper.go_on_from(kept)
        torch.testing.assert_close(mapper.at(t).keys, kept.at(t).keys, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(mapper.at(t).bypass, kept.at(t).bypass, rtol=1e-4, atol=1e-6)
        assert torch.equal(mapper.word, word) and all(one.requires_grad for one in mapper.parameters())
        mapper.at(t).bypass.sum().backward()
        if given:
            assert mapper.bypass[0].weight.grad[:, -24:].any()


@pytest.mark.parametrize(
    ("persona", "recipe", "said"),
    [
        ({"representation": "small"}, {}, "its file has no mapper.*keep_mapper"),
        ({"family": "SD2.x"}, {}, "learned for 'SD2.x', but this CLIP is SD1.x"),
        ({"supercategory": "cat"}, {}, "supercategory 'cat' there, 'face' here"),
        ({}, {"tokens": 2}, "tokens 4 there, 2 here"),
        ({}, {"stages": Stages(1, 2)}, "stages 400 to 800 there, 1 to 2 here"),
    ],
)
def test_learning_goes_on_only_from_what_fits(persona, recipe, said):
    kept = Persona("ann", StageMapper(noise(32), STAGES), "SD1.x", "face")
    check_goes_on(kept, "SD1.x", StageMapperRecipe())
    changed = kept.small() if persona.get("representation") else replace(kept, **persona)
    with pytest.raises(ValueError, match=said):
        check_goes_on(changed, "SD1.x", StageMapperRecipe(**recipe))
