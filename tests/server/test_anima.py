"""Anima as artists have it: three files, learned both ways and painted with in one workflow. Of newer hosts."""

import importlib.util
import json

import numpy as np
import pytest
from prompts import API, find, only, pictures, with_few_contexts, workflow

from persona_core.persona import Persona

NAME, LEARN, KV = "learn_with_anima", "PersonaLearn", "PersonaKVTokens"
SMALL = {
    LEARN: {"steps": 3, "batch_size": 1, "tokens": 2, "name": "anime"},
    KV: {"steps": 2, "batch_size": 1, "pairs": 2, "augment": False, "name": "anime_kv"},
    "VAELoader": {"vae_name": "qwen_image_vae.safetensors"},
}

pytestmark = [
    pytest.mark.skipif(not importlib.util.find_spec("comfy.ldm.anima"), reason="this host does not know Anima"),
    pytest.mark.usefixtures("anima"),
]


def template(**changes: dict) -> dict:
    """The template's workflow, with its own sampler, of fewer steps."""
    sampler = json.loads((API / f"{NAME}.json").read_text())["14"]["inputs"]
    usual = {key: value for key, value in sampler.items() if not isinstance(value, list)} | {"steps": 6}
    wanted = {key: one | changes.get(key, {}) for key, one in SMALL.items()}
    return with_few_contexts(workflow(NAME, {"KSampler": usual, **changes, **wanted}))


def paint(server, prompt: dict, texts=None) -> list[np.ndarray]:
    """The pictures of both ways."""
    run = server.run(prompt, texts)
    assert run.status == "success", run.error
    painted = [pictures(server, run, node)[0] for node in ("16", "35")]
    assert all(one.shape == (64, 64, 3) and one.std() > 5 for one in painted)
    return [one.astype(int) for one in painted]


def test_the_template_learns_both_ways_and_paints_with_both(server, texts):
    found = paint(server, template(), texts)
    for name, steps in (("anime", 3), ("anime_kv", 2)):
        persona = Persona.load(server.base / f"models/personas/{name}.safetensors")
        assert len(persona.losses["noise"]) == steps and np.isfinite([*persona.losses.values()]).all()
    word, same = paint(server, template(PersonaApply={"strength": 0.0}), texts)
    assert np.abs(word - same).max() == 0, "without a persona they are one picture"
    assert all(np.abs(one - word).max() > 0 for one in found) and np.abs(found[0] - found[1]).max() > 0


def test_it_is_learned_once_even_if_the_models_are_loaded_again(server, texts):
    prompt = only(template(), LEARN)
    assert server.run(prompt).status == "success"
    server.run(workflow("load_and_generate", {"PersonaLoad": {"persona_name": "anime.safetensors"}}))
    texts.clear()
    assert server.run(prompt, texts).status == "success"
    assert any("Loaded 'anime'" in text for text in texts) and not any(text.startswith("Learning") for text in texts)


def test_a_persona_of_sd15_is_refused_and_both_are_named(server, first_personas):
    prompt = template()
    prompt["4"] = {"class_type": "PersonaLoad", "inputs": {"persona_name": first_personas["kv_tokens"]}}
    del prompt["stages"]
    run = server.run(prompt)
    assert (run.status, run.error_type) == ("error", "PersonaApply")
    assert "SD1.x (clip_l, 768 wide)" in run.error and "qwen3_06b" in run.error


def test_a_vae_of_another_kind_is_refused(server, z_image):
    """Z-Image's has as many channels, but makes no frames."""
    prompt = template()
    prompt[find(prompt, "VAELoader")]["inputs"]["vae_name"] = workflow("learn_with_z_image")["29"]["inputs"]["vae_name"]
    run = server.run(only(prompt, LEARN))
    assert (run.status, run.error_type) == ("error", LEARN) and "VAE" in run.error, run.error
