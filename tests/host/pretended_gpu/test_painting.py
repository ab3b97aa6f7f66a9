"""Painting on a pretended GPU, where what lies on the wrong device raises: the pictures are those of the CPU."""

import pytest
import tiny_models
import torch
from looking import curve, painted, scored, seen

ON_CPU = "model", "clip"
known = {}


def same_as_on_the_cpu(make_job, gpu, look, family="sdxl", on_cpu=()):
    """Whether a look at what a job paints is that at what the same models paint on the CPU. Gives the job."""
    if (look, family) not in known:
        known[look, family] = look(make_job(None, family, ON_CPU))
    job, before = make_job(None, family, on_cpu), gpu.made
    for one, other in zip(look(job), known[look, family], strict=True):
        assert one.device == other.device
        torch.testing.assert_close(one, other, atol=1e-3, rtol=1e-3)
    assert gpu.made > before + 30
    return job


@pytest.mark.parametrize("on_cpu", [(), ("clip",), ("model",)])
@pytest.mark.parametrize("family", ["sd1", "sdxl", *tiny_models.FLOWS])
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


@pytest.mark.parametrize("on_cpu", [(), ("clip",), ("model",)])
def test_scores_are_the_cpus(make_job, gpu, on_cpu):
    same_as_on_the_cpu(make_job, gpu, scored, "sd1", on_cpu)
