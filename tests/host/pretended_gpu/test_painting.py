"""Painting on a pretended GPU, where what lies on the wrong device raises: the pictures are those of the CPU."""

import pytest
import tiny_models
import torch
from recording import encode, sample

from persona_core.host.apply import places
from persona_core.host.apply.attention_view import watch
from persona_core.host.apply.encoding import apply_to_clip
from persona_core.host.apply.sampling import apply_to_model
from persona_core.host.clip import text_towers
from persona_core.host.learn.attention_curve import attention_curve
from persona_core.kv_tokens import KVTokens
from persona_core.persona import Persona
from persona_core.table import AppliedPersona

ON_CPU = "model", "clip"
TEXT = "<ann> beside <bob>"
LEFT = torch.cat([torch.ones(8, 4), torch.zeros(8, 4)], 1)


def with_people(clip):
    """A CLIP that knows <ann>, who has a bypass, and <bob>, who has other tokens for V; each has half of the picture."""
    towers = text_towers(clip)
    word, generator = towers.word("face"), torch.Generator().manual_seed(1)
    tokens = word + 0.02 * torch.randn(5, 2, len(word), generator=generator)
    bob = Persona("bob", KVTokens(word, tokens, towers.widths), towers.family, "face")
    ann = AppliedPersona(tiny_models.persona(clip), 0.8, late="persona", mask=LEFT, context_preservation=0.5)
    return apply_to_clip(apply_to_clip(clip, ann, "<ann>"), AppliedPersona(bob, mask=1 - LEFT), "<bob>")


def painted(job):
    clip = with_people(job.clip)
    model = apply_to_model(apply_to_model(job.model, "<ann>"), "<bob>")
    return [sample(model, encode(clip, TEXT), encode(clip, "lowres"), steps=3, batch=2)]


def seen(job):
    """The picture of Persona Attention, and its maps at two moments."""
    picture, found = watch(
        job.model, with_people(job.clip), TEXT, "lowres", torch.zeros(1, 4, 8, 8), (900, 600),
        steps=3, cfg=4.0, sampler="euler", scheduler="normal", seed=0, on_step=lambda done, total: None,
    )  # fmt: skip
    return [picture, *(one for moment in found for one in moment.maps.values())]


def curve(job):
    """Of Stage Partition."""
    found = attention_curve(job.model, job.clip, job.vae, job.photos[0], "face", 250, 2, 0, lambda done, total: None)
    return [found.iou, found.maps, found.mask]


known = {}


def same_as_on_the_cpu(make_job, gpu, look, family="sdxl", on_cpu=()):
    """Whether a look at what a job paints is that at what the same models paint on the CPU. Gives the job."""
    if (look, family) not in known:
        known[look, family] = look(make_job(None, family, ON_CPU))
    job, before = make_job(None, family, on_cpu), gpu.operations
    for one, other in zip(look(job), known[look, family], strict=True):
        assert one.device == other.device
        torch.testing.assert_close(one, other, atol=1e-3, rtol=1e-3)
    assert gpu.operations > before + 100
    return job


@pytest.mark.parametrize(("family", "on_cpu"), [("sd1", ()), ("sd1", ("clip",)), ("sdxl", ()), ("sdxl", ("model",))])
def test_a_picture_of_two_people_in_their_places_is_the_cpus(make_job, gpu, family, on_cpu):
    same_as_on_the_cpu(make_job, gpu, painted, family, on_cpu)


@pytest.mark.parametrize("on_cpu", [(), ("clip",), ("model",)])
@pytest.mark.parametrize("look", [seen, curve])
def test_where_words_look_is_the_cpus(make_job, gpu, look, on_cpu):
    same_as_on_the_cpu(make_job, gpu, look, on_cpu=on_cpu)


@pytest.mark.parametrize("look", [painted, curve])
def test_with_weights_that_stay_on_the_cpu_between_the_layers_calls(make_job, gpu, gpu_memory, look):
    gpu_memory(2**20)
    job = same_as_on_the_cpu(make_job, gpu, look)
    assert job.model.model.model_lowvram and job.model.loaded_size() < 0.5 * job.model.model_size()


@pytest.mark.parametrize("look", [painted, curve])
def test_on_a_device_that_holds_neither_float64_nor_bfloat16(make_job, gpu, look):
    """As MPS holds no float64, and older cards no bfloat16."""
    gpu.refuses = frozenset([torch.float64, torch.bfloat16])
    same_as_on_the_cpu(make_job, gpu, look)


def test_a_mask_that_was_left_on_the_cpu_is_found(make_job, gpu, monkeypatch):
    """That the device finds what it is for."""
    own = places.bias_of_all
    monkeypatch.setattr(places, "bias_of_all", lambda *given: own(*given).cpu())
    with pytest.raises(RuntimeError, match="same device"):
        painted(make_job(None))
