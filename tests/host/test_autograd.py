"""Models that learning loaded are not loaded after it."""

from types import SimpleNamespace

import comfy.model_management
import pytest
import tiny_models
from jobs import learned

from persona_core.host.learn.latents import embed


@pytest.fixture
def parts(job):
    """The patchers of a job."""
    return {"model": job.model, "clip": job.clip.patcher, "vae": job.vae.patcher}


def loaded(parts) -> set[str]:
    """Which of them the host has loaded."""
    bases = [one.model for one in comfy.model_management.loaded_models() if one is not None]
    return {name for name, patcher in parts.items() if any(base is patcher.model for base in bases)}


@pytest.mark.parametrize("end", ["learned", "error", "interrupt"])
@pytest.mark.parametrize("before", [(), ("model",), ("model", "clip", "vae")])
def test_what_learning_loaded_it_hands_back(job, tmp_path, parts, before, end):
    parts["other"] = tiny_models.model()
    comfy.model_management.unload_all_models()  # on the CPU, the host loads a text encoder when it makes it
    comfy.model_management.load_models_gpu([parts[name] for name in (*before, "other")])
    during = []

    def on_step(progress):
        during.append(loaded(parts))
        if progress.step == 2 and end != "learned":
            raise {"error": ZeroDivisionError, "interrupt": comfy.model_management.InterruptProcessingException}[end]

    try:
        learned(job, tmp_path, on_step)
    except (ZeroDivisionError, comfy.model_management.InterruptProcessingException):
        assert end != "learned" and len(during) == 2
    assert during[0] == set(parts)
    assert loaded(parts) == {*before, "other"}


@pytest.mark.parametrize("before", [False, True])
def test_an_image_encoder_is_handed_back_too(job, before):
    parts = {"encoder": tiny_models.model(), "model": job.model}

    def encode_image(image):
        comfy.model_management.load_models_gpu([parts["encoder"]])  # as the host's does
        return {"image_embeds": image.mean((1, 2))}

    comfy.model_management.unload_all_models()
    comfy.model_management.load_models_gpu([job.model, *[parts["encoder"]] * before])
    embeddings = embed(SimpleNamespace(patcher=parts["encoder"], encode_image=encode_image), [*job.photos] * 2)
    assert embeddings.shape == (2, 3)
    assert loaded(parts) == {"model", *["encoder"] * before}


def test_a_model_that_was_loaded_with_other_patches_is_still_loaded(job, tmp_path, parts):
    clone = job.model.clone()
    clone.set_model_attn2_patch(lambda n, k, v, extra: (n, k, v))
    comfy.model_management.unload_all_models()
    comfy.model_management.load_models_gpu([clone])
    learned(job, tmp_path)
    assert loaded(parts) == {"model"}
