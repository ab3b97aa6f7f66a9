"""A long prompt goes through the text encoders in portions, and of it at each timestep only what a persona is in; one
whose contexts would not fit is refused."""

from contextlib import contextmanager

import comfy.model_management
import pytest
import torch
from contexts import same
from recording import encode_one

from persona_core.host.apply import bypass, portions
from persona_core.host.apply.encoding import PersonaEncode, apply_to_clip
from persona_core.host.apply.prompt import count_of
from persona_core.table import AppliedPersona

STREET = "a street in the rain at night with many people and a red bus, " * 40
LONG = ", ".join(["a photo of <ann> in snow by the sea at night"] * 30)


@contextmanager
def counted(monkeypatch):
    """How many sections go through the encoders at once."""
    sizes, usual = [], PersonaEncode.encode

    def encode(self, rows, spared):
        sizes.append(len(next(iter(rows.values()))))
        return usual(self, rows, spared)

    with monkeypatch.context() as patch:
        patch.setattr(PersonaEncode, "encode", encode)
        yield sizes


@pytest.mark.parametrize("preserved", [0.0, 0.5])
def test_the_table_is_the_same_in_portions(clip, ann, monkeypatch, preserved):
    known = apply_to_clip(clip, AppliedPersona(ann, context_preservation=preserved), "<ann>")
    with counted(monkeypatch) as sizes:
        portioned = encode_one(known, LONG)[0]
        monkeypatch.setattr(portions, "AT_ONCE", 10**6)
        whole = encode_one(known, LONG)[0]
    *several, once = sizes
    assert len(several) > 2 and max(several) <= 128 and sum(several) == once
    assert same(portioned, whole, exact=False) and not torch.equal(whole.table.at(600)[0], whole.table.base)


def test_a_prompt_that_does_not_fit_is_refused_before_it_is_encoded(clip, ann, monkeypatch):
    known = apply_to_clip(clip, AppliedPersona(ann), "<ann>")
    passes = []
    clip.cond_stage_model.clip_l.register_forward_pre_hook(lambda *_: passes.append(1))
    monkeypatch.setattr(comfy.model_management, "get_free_memory", lambda *_: 10_000_000)
    with pytest.raises(portions.PromptTooLong, match="too long for a persona.*Shorten"):
        encode_one(known, LONG)
    assert not passes
    encode_one(known, STREET + "of <ann>")
    assert passes


@pytest.mark.parametrize("preserved", [0.0, 0.5])
@pytest.mark.parametrize("mask", [None, torch.ones(4, 4)])
def test_only_sections_with_a_persona_are_encoded_at_each_timestep(clip, ann, monkeypatch, preserved, mask):
    known = apply_to_clip(clip, AppliedPersona(ann, context_preservation=preserved, mask=mask), "<ann>")
    text = f"{STREET} of <ann> {STREET}"
    with counted(monkeypatch) as sizes:
        some = encode_one(known, text)[0]
        monkeypatch.setattr(PersonaEncode, "moving", lambda self, sections: list(range(count_of(sections))))
        every = encode_one(known, text)[0]
    sections = some.shape[1] // 77
    assert sections > 10 and sizes[0] * sections == sum(sizes[1:])
    assert same(some, every, exact=False) and not torch.equal(every.table.at(600)[0], every.table.base)
    assert some.table.keys[0].shape[1] == 77
    for one, other in zip(some.table.places_at(600), every.table.places_at(600), strict=True):
        assert torch.equal(one.tokens, other.tokens) and one.tokens.sum() == ann.representation.tokens


def test_a_persona_that_stands_hundreds_of_times_is_looked_for_once(clip, ann, monkeypatch):
    known, looked_for = apply_to_clip(clip, AppliedPersona(ann), "<ann>"), []
    usual = bypass.nearest
    monkeypatch.setattr(bypass, "nearest", lambda x, tokens: looked_for.append(len(tokens)) or usual(x, tokens))
    encode_one(known, "<ann> " * 100)
    timesteps = portions.AT_ONCE // 2
    assert looked_for and max(looked_for) <= timesteps * ann.representation.tokens < 100 * ann.representation.tokens
