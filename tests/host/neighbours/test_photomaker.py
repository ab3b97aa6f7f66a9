"""A persona beside PhotoMaker, and in its prompt."""

import pytest
import tiny_models
import torch
from comfy_extras.nodes_photomaker import PhotoMakerEncode
from neighbours import STEPS, names_of_rows, noise, photo_maker
from recording import Recorder, encode, sample

import nodes
from persona_core.host.apply.context import PersonaContext
from persona_core.host.apply.encoding import apply_to_clip
from persona_core.host.apply.sampling import apply_to_model
from persona_core.table import AppliedPersona


@pytest.fixture(scope="module")
def sdxl_clips():
    """One that knows nobody, and one that knows <ann>."""
    with torch.inference_mode():
        clip = tiny_models.clip("sdxl")
        return clip, apply_to_clip(clip, AppliedPersona(tiny_models.persona(clip)), "<ann>")


@pytest.fixture
def sdxl(sdxl_clips):
    return tiny_models.model(sdxl=True), *sdxl_clips


def maker_of(monkeypatch, clip, text):
    return PhotoMakerEncode.execute(photo_maker(monkeypatch, (64, 128)), noise(1, 64, 64, 3).sigmoid(), clip, text)[0]


def test_photomaker_paints_one_region_and_the_persona_another(sdxl, monkeypatch):
    model, clip, taught = sdxl
    maker, ann, negative = (
        maker_of(monkeypatch, clip, "photomaker in snow"),
        encode(taught, "a <ann>"),
        encode(clip, ""),
    )
    assert not torch.equal(maker[0][0], encode(clip, "photomaker in snow")[0][0])
    left = torch.zeros(1, 128, 128)
    left[..., :64] = 1
    regions = [
        nodes.ConditioningSetMask().append(prompt, mask, "default", 1.0)[0]
        for prompt, mask in ((ann, left), (maker, 1 - left))
    ]
    recorder = Recorder(model)
    painted = sample(model, nodes.ConditioningCombine().combine(*regions)[0], negative, size=16, batch=2)
    assert torch.isfinite(painted).all()
    for rows in names_of_rows(recorder.passes, ann=ann, maker=maker, negative=negative):
        assert sorted(rows) == ["ann"] * 2 + ["maker"] * 2 + ["negative"] * 2


def test_photomaker_encodes_with_a_clip_that_knows_a_persona(sdxl, monkeypatch):
    # It asks the tokenizer for the words' numbers too.
    _, clip, taught = sdxl
    ours, plain = (maker_of(monkeypatch, one, "photomaker in snow") for one in (taught, clip))
    assert torch.equal(ours[0][0], plain[0][0])


def test_a_persona_in_photomakers_own_prompt(sdxl, monkeypatch, caplog):
    """PhotoMaker fuses its picture into one token; the persona stands at the others, at every t."""
    model, clip, taught = sdxl
    (context, _), usual = maker_of(monkeypatch, taught, "photomaker with <ann>")[0], encode(taught, "with <ann>")[0]
    assert isinstance(context, PersonaContext) and context.table.placeholders == {"<ann>"}
    for side in (0, 1):
        of_ann = (context.table.at(600)[side] - context.table.base)[0].norm(dim=-1)
        largest = (usual[0].table.at(600)[side] - usual[0].table.base).norm(dim=-1).max()
        assert of_ann[0] == 0 and of_ann.max() > 0.5 * largest
    sample(apply_to_model(model, "<ann>"), [[context, {**encode(clip, "")[0][1]}]], encode(clip, ""), steps=STEPS)
    assert not caplog.records
