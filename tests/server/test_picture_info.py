"""What a picture's file says of who is in it."""

import io
import json
from urllib.error import HTTPError

import pytest
from PIL import Image
from prompts import find, workflow

from tools.comfy_server import PromptRefused


def info(server, prompt: dict, **extra_data) -> dict:
    run = server.run(prompt, extra_data=extra_data)
    assert run.status == "success", run.error
    file = run.outputs[find(prompt, "SaveImage")]["images"][0]
    return Image.open(io.BytesIO(server.view(file))).info


def painting(persona: str, **inputs) -> dict:
    changes = {"PersonaLoad": {"persona_name": persona}, "PersonaApply": inputs, "KSampler": {"seed": info.seed}}
    info.seed += 1  # or the picture would be there already, with what it said
    return workflow("load_and_generate", changes)


info.seed = 7


@pytest.mark.parametrize(("placeholder", "told"), [("<ann>", "<ann>"), ("", "<kv_tokens>")])
def test_it_says_which_persona_by_which_word_and_how_strong(server, first_personas, placeholder, told):
    file = first_personas["kv_tokens"]
    for _ in range(2):  # the second time, Apply has run already
        found = info(server, painting(file, placeholder=placeholder, strength=0.7), extra_pnginfo={"mine": [1]})
        assert json.loads(found["personas"]) == [{"persona": file, "placeholder": told, "strength": 0.7}]
        assert json.loads(found["mine"]) == [1]


def test_what_comes_over_a_link_is_left_open_and_without_apply_nothing_is_said(server, first_personas):
    prompt = painting(first_personas["kv_tokens"])
    prompt["word"] = {"class_type": "PrimitiveString", "inputs": {"value": "<ann>"}}
    prompt[find(prompt, "PersonaApply")]["inputs"]["placeholder"] = ["word", 0]
    found = json.loads(info(server, prompt, extra_pnginfo={})["personas"])
    assert found == [{"persona": first_personas["kv_tokens"], "placeholder": None, "strength": 1.0}]
    apply, loader = find(prompt, "PersonaApply"), find(prompt, "CheckpointLoaderSimple")
    for node in prompt.values():
        for name, link in node["inputs"].items():
            if isinstance(link, list) and link[0] == apply:
                node["inputs"][name] = [loader, link[1]]
    del prompt[apply]
    assert "personas" not in info(server, prompt, extra_pnginfo={})


def test_what_the_api_queues_without_it_stays_without(server, first_personas):
    """Packs look for a workflow in it wherever it is."""
    assert info(server, painting(first_personas["kv_tokens"])).keys() == {"prompt"}


@pytest.mark.parametrize(
    "apply", [{}, {"inputs": None}, {"inputs": {"persona": [], "placeholder": ""}}, {"inputs": {"persona": [[1], 0]}}]
)
def test_a_prompt_that_is_none_is_refused_as_ever(server, apply):
    with pytest.raises((PromptRefused, HTTPError)):  # newer hosts fail at some of them, whosever node it is
        server.submit({"1": {"class_type": "PersonaApply", **apply}}, {"extra_pnginfo": {}})
    assert "on_prompt_handler" not in server.log.read_text(errors="replace")  # where the host tells that ours failed
