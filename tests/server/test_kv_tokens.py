"""Face-Wise K/V Tokens and Persona Attention through the HTTP API of a real server."""

from pathlib import Path

import numpy as np
import pytest
from prompts import find, only, pictures, with_few_contexts, workflow

from persona_core.kv_tokens import KVTokens
from persona_core.persona import Persona
from tools.comfy_server import PromptRefused

LEARN, KV, ATTENTION = "PersonaLearn", "PersonaKVTokens", "PersonaAttention"


def learning(**inputs) -> dict:
    return only(workflow("face_wise_kv_tokens", {KV: inputs}), KV)


def test_the_workflow_gives_a_small_file_pictures_and_where_words_look(server, texts):
    prompt = workflow("face_wise_kv_tokens", {KV: {"name": "pairs"}})
    run = server.run(prompt, texts)
    assert run.status == "success", run.error
    painted = pictures(server, run, find(prompt, "SaveImage"))
    assert painted[0].shape == (64, 64, 3) and painted[0].std() > 5
    [path] = run.outputs[find(prompt, KV)]["text"]
    assert Path(path).stat().st_size <= 40_000
    persona = Persona.load(Path(path))
    assert isinstance(persona.representation, KVTokens) and persona.representation.vectors.shape == (5, 2, 768)
    first, *_, last = persona.losses["attention"]  # a sum over thousands of numbers: rounding is some 1e-7
    assert set(persona.losses) == {"noise", "attention"} and first == pytest.approx(0, abs=1e-6) and last > first
    [grid] = pictures(server, run, find(prompt, ATTENTION))
    assert grid.shape[1] > 8 * 160 and grid.std() > 5
    assert "Learning 'pairs': 4 steps of 4, 64x64, 32 pictures" in "\n".join(texts)


def test_the_same_inputs_give_the_same_persona_and_load_it(server, texts):
    def tensors(name):
        return Persona.load(server.base / f"models/personas/{name}.safetensors").representation.vectors

    assert server.run(learning(name="kv_one")).status == "success"
    assert server.run(learning(name="kv_two", reuse=False)).status == "success"
    assert (tensors("kv_one") == tensors("kv_two")).all()
    server.run(learning(name="kv_one", train_seed=0), texts)
    assert "Loaded 'kv_one'" in "\n".join(texts) and "Learning 'kv_one'" not in "\n".join(texts)


@pytest.mark.parametrize(
    "other",
    [{"augment": False}, {"attention_weight": 0.01}, {"attention_tokens": "the placeholder only"},
     {"reference_word": "face"}, {"pairs": 3}],
)  # fmt: skip
def test_other_inputs_are_another_persona(server, texts, other):
    assert server.run(learning(name="kv_other", steps=1)).status == "success"
    server.run(learning(name="kv_other", steps=1, **other), texts)
    assert "Learning 'kv_other'" in "\n".join(texts)


def test_each_method_takes_the_others_loss(server):
    every = {"noise", "equilibrium", "attention"}
    mine = only(workflow(changes={LEARN: {"name": "with_attention", "steps": 1, "attention_weight": 0.003}}), LEARN)
    for name, prompt in (("with_attention", mine), ("with_te", learning(name="with_te", steps=1, te_weight=0.001))):
        run = server.run(prompt)
        assert run.status == "success", run.error
        persona = Persona.load(server.base / f"models/personas/{name}.safetensors")
        assert set(persona.losses) == every
    assert persona.settings["TE weight"] == 0.001 and persona.settings["variants"]


@pytest.mark.parametrize(
    ("node", "inputs"),
    [(KV, {"pairs": 0}), (KV, {"pairs": 11}), (KV, {"attention_weight": -1.0}), (KV, {"attention_tokens": "some"}),
     (ATTENTION, {"steps": 0}), (ATTENTION, {"scheduler": "mine"})],
)  # fmt: skip
def test_values_out_of_range_are_refused_before_anything_runs(server, node, inputs):
    prompt = workflow("face_wise_kv_tokens", {node: inputs})
    checkpoint = find(prompt, "CheckpointLoaderSimple")
    prompt[find(prompt, ATTENTION)]["inputs"] |= {
        "model": [checkpoint, 0],
        "clip": [checkpoint, 1],
    }  # the host runs what it can
    with pytest.raises(PromptRefused, match=next(iter(inputs))):
        server.submit(only(prompt, node))


def test_info_tells_of_this_kind(server):
    assert server.run(learning(name="kv_info", steps=1)).status == "success"
    prompt = {
        "1": {"class_type": "PersonaLoad", "inputs": {"persona_name": "kv_info.safetensors"}},
        "2": {"class_type": "PersonaInfo", "inputs": {"persona": ["1", 0]}},
    }
    run = server.run(prompt)
    assert run.status == "success", run.error
    [text] = run.outputs["2"]["text"]
    assert "kind: SeFi-IDE's K/V tokens" in text and "stages: 5, even" in text and "reference word: person" in text


def test_both_kinds_in_one_prompt(server):
    ann = only(workflow(changes={LEARN: {"name": "ann"}}), LEARN)
    assert server.run(with_few_contexts(ann)).status == "success"
    assert server.run(learning(name="bob")).status == "success"

    def paint(text):
        prompt = workflow("load_and_generate", {"PersonaLoad": {"persona_name": "ann.safetensors"}})
        apply = find(prompt, "PersonaApply")
        users = [node for node in prompt.values() if [apply, 1] in node["inputs"].values()]
        prompt["bob"] = {"class_type": "PersonaLoad", "inputs": {"persona_name": "bob.safetensors"}}
        prompt["second"] = {
            "class_type": "PersonaApply",
            "inputs": {
                **prompt[apply]["inputs"], "model": [apply, 0], "clip": [apply, 1], "persona": ["bob", 0],
                "placeholder": "<bob>",
            },
        }  # fmt: skip
        for node in users:
            node["inputs"]["clip"] = ["second", 1]
        prompt[find(prompt, "CLIPTextEncode")]["inputs"]["text"] = text
        run = server.run(prompt)
        assert run.status == "success", run.error
        return pictures(server, run, find(prompt, "SaveImage"))[0].astype(int)

    both, ann, bob = (paint(f"a photo of {who}") for who in ("<ann> and <bob>", "<ann> and face", "person and <bob>"))
    assert all(np.abs(both - alone).max() > 0 for alone in (ann, bob))


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"reference_word": "fluffy cat"}, "reference word 'fluffy cat' makes 2 tokens in this text encoder, but"),
        ({"supercategory": ""}, "supercategory '' must be a common word"),
    ],
)
def test_mistakes_end_in_a_sentence(server, inputs, message):
    run = server.run(learning(name="bad_kv", **inputs))
    assert run.status == "error" and run.error_type == KV and message in run.error


@pytest.mark.parametrize("text", [" ", "()"])
def test_attention_needs_a_prompt(server, text):
    run = server.run(workflow("face_wise_kv_tokens", {KV: {"name": "pairs"}, ATTENTION: {"text": text}}))
    assert run.status == "error" and run.error_type == ATTENTION and "The text holds no word" in run.error


def test_attention_needs_a_vae(server, checkpoint_without):
    prompt = workflow("face_wise_kv_tokens", {KV: {"name": "pairs"}})
    bare = {"ckpt_name": checkpoint_without("first_stage_model.")}
    prompt["bare"] = {"class_type": "CheckpointLoaderSimple", "inputs": bare}
    prompt[find(prompt, ATTENTION)]["inputs"]["vae"] = ["bare", 2]
    run = server.run(only(prompt, ATTENTION))
    assert (run.status, run.error_type) == ("error", ATTENTION) and "VAE is empty" in run.error
