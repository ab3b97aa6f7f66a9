"""A long prompt goes through the text encoders in portions, and has the same table; one that would not fit is refused."""

from contextlib import contextmanager

import comfy.model_management
import pytest
import torch
from contexts import same
from recording import encode_one

from persona_core.host.apply import portions
from persona_core.host.apply.encoding import PersonaEncode, apply_to_clip
from persona_core.table import AppliedPersona

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
    monkeypatch.setattr(comfy.model_management, "get_free_memory", lambda *_: 10_000_000)
    with counted(monkeypatch) as sizes, pytest.raises(portions.PromptTooLong, match="too long for a persona.*Shorten"):
        encode_one(known, LONG)[0]
    assert not sizes
