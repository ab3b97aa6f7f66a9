"""Workflows of the first release run unchanged, with personas of the first release."""

import json

import pytest
from prompts import CHECKPOINT, FIRST_RELEASE, find, pictures, workflow


@pytest.mark.parametrize("kind", ["stage_mapper", "kv_tokens"])
def test_a_persona_of_before_has_its_name_for_a_placeholder(server, texts, first_personas, kind):
    prompt = workflow("load_and_generate", {"PersonaLoad": {"persona_name": first_personas[kind]}})
    prompt[find(prompt, "PersonaApply")]["inputs"]["placeholder"] = ""
    prompt[find(prompt, "CLIPTextEncode")]["inputs"]["text"] = f"a photo of <{kind}>"
    run = server.run(prompt, texts)
    assert run.status == "success", run.error
    assert not any("No prompt of this sampler" in text for text in texts)


@pytest.mark.parametrize("kind", ["stage_mapper", "kv_tokens"])
def test_a_workflow_in_api_form_and_its_persona(server, texts, first_personas, kind):
    prompt = json.loads((FIRST_RELEASE / "load_and_generate_api.json").read_text())
    assert "start_at" not in prompt[find(prompt, "PersonaApply")]["inputs"]
    prompt[find(prompt, "PersonaLoad")]["inputs"]["persona_name"] = first_personas[kind]
    prompt[find(prompt, "CheckpointLoaderSimple")]["inputs"]["ckpt_name"] = CHECKPOINT
    prompt[find(prompt, "EmptyLatentImage")]["inputs"] |= {"width": 64, "height": 64}
    prompt[find(prompt, "KSampler")]["inputs"]["steps"] = 3
    run = server.run(prompt, texts)
    assert run.status == "success", run.error
    assert pictures(server, run, find(prompt, "SaveImage"))[0].std() > 5
    assert not any("No prompt of this sampler" in text for text in texts)
