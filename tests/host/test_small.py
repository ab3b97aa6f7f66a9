"""What a small file paints is what the mapper paints: contexts within 1e-3 of the persona's effect, through the host's
own text encoder; and learning goes on from a mapper that was kept."""

from dataclasses import replace

import folder_paths
import pytest
import tiny_models
import torch
from jobs import learned
from recording import encode_one

from persona_core.consent import Consent
from persona_core.host import store
from persona_core.host.apply.encoding import apply_to_clip
from persona_core.host.apply.sampling import TABLE
from persona_core.host.learn import reuse
from persona_core.host.learn.run import WENT_ON
from persona_core.mapper import StageMapper
from persona_core.persona import Persona
from persona_core.stage_vectors import StageVectors
from persona_core.stages import Stages
from persona_core.table import AppliedPersona

PROMPT, NEAR = "a photo of (<ann>:1.2) in snow", 1e-3
ELSEWHERE = {"start_at": 0.3033, "end_at": 0.5471}  # the points of its table are others than those that are kept


@pytest.fixture
def folder(monkeypatch, tmp_path):
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "personas", ([str(tmp_path)], {".safetensors"}))
    monkeypatch.setattr(reuse, "unsaved", {})
    return tmp_path


def table(clip, persona, **uses):
    return encode_one(apply_to_clip(clip, AppliedPersona(persona, **uses), "<ann>"), PROMPT)[1][TABLE]


def furthest(clip, persona, small, **uses):
    """Of all points of the tables, how far K and V are from the mapper's, in the persona's effect there."""
    its, ours = (table(clip, one, **uses) for one in (persona, small))
    assert its.segments == ours.segments
    pairs = [pair for sides in ((its.keys, ours.keys), (its.values, ours.values)) for pair in zip(*sides, strict=True)]
    return max(((one - other).norm() / (one - its.base).norm()).item() for a, b in pairs for one, other in zip(a, b))


def scrambled(persona):
    generator = torch.Generator().manual_seed(1)
    with torch.inference_mode(False):
        for parameter in persona.representation.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    return persona


@pytest.mark.parametrize("family", ["sd1", "sdxl", "z_image"])
@pytest.mark.parametrize("kind", ["strong", "scrambled", "of one token"])
def test_contexts_are_the_mappers(family, kind, tmp_path):
    clip = tiny_models.clip(family)
    persona = tiny_models.persona(clip, tokens=1 if kind == "of one token" else 4)
    persona = scrambled(persona) if kind == "scrambled" else persona
    small = Persona.load(persona.small().save(tmp_path / "ann.safetensors"))
    assert isinstance(small.representation, StageVectors)
    assert furthest(clip, persona, small) < NEAR
    assert furthest(clip, persona, small, **ELSEWHERE) < NEAR


def test_contexts_of_what_was_learned_are_the_mappers(job, tmp_path):
    learning = replace(job.recipe.learning, steps=40, learning_rate=2e-3)
    recipe = replace(job.recipe, learning=learning, stages=Stages(121, 997))
    persona = learned(replace(job, recipe=recipe), tmp_path)
    small = Persona.load(persona.small().save(tmp_path / "ann.safetensors"))
    assert furthest(job.clip, persona, small) < NEAR
    points = {point for segment in table(job.clip, small, **ELSEWHERE).segments for point in segment.grid}
    assert len(points - {*small.representation.kept.int().tolist()}) > 10
    assert furthest(job.clip, persona, small, **ELSEWHERE) < NEAR


def test_a_learned_persona_is_saved_small_and_its_mapper_if_that_is_asked_for(job, folder):
    small, path, _ = reuse.find_or_train(job, reuse=True)
    assert isinstance(small.representation, StageVectors) and path.stat().st_size < 100_000
    store.save(replace(small, consent=Consent("Ann")), path)
    keeping = replace(job, keep_mapper=True)
    assert keeping.fingerprint() == job.fingerprint()
    whole, path, said = reuse.find_or_train(keeping, reuse=True)
    assert isinstance(whole.representation, StageMapper) and said.startswith("Learned")
    assert whole.consent == Consent("Ann"), "it is the same persona"
    kept = Persona.load(path.with_name(f"ann.{small.fingerprint[:8]}.safetensors"))
    assert kept.learned == small.learned, "the small one is not lost"
    for again in (job, keeping):
        found, _, said = reuse.find_or_train(again, reuse=True)
        assert found.learned == whole.learned and said.startswith("Loaded")


def test_learning_goes_on_from_a_kept_mapper(job, folder):
    learning = replace(job.recipe.learning, steps=30, learning_rate=2e-3)
    job = replace(job, recipe=replace(job.recipe, learning=learning), keep_mapper=True)
    first, _, _ = reuse.find_or_train(job, reuse=True)
    nearly_nothing = replace(job.recipe, learning=replace(learning, steps=1, learning_rate=1e-9))
    going_on = replace(job, name="more", recipe=nearly_nothing, go_on_from=first)
    more, _, _ = reuse.find_or_train(going_on, reuse=True)
    t = torch.tensor([400.0, 555.0, 800.0])
    its, ours = (one.representation.at(t) for one in (first, more))
    assert (its.keys - first.representation.word).norm() > 0.1 * its.keys.norm()
    torch.testing.assert_close(ours.keys, its.keys, rtol=5e-3, atol=1e-4)
    torch.testing.assert_close(ours.bypass, its.bypass, rtol=5e-3, atol=1e-3)
    assert more.settings[WENT_ON] == "ann" and WENT_ON not in first.settings
    assert len({going_on.fingerprint(), replace(going_on, go_on_from=None).fingerprint(), job.fingerprint()}) == 3
    assert replace(going_on, go_on_from=replace(first, name="eve")).fingerprint() == going_on.fingerprint()
