"""Consent: written by Save Persona, kept by all that saves again, and asked for where whoever runs ComfyUI wants it."""

from dataclasses import replace
from pathlib import Path

import pytest
from gallery import put_persona
from prompts import by_small_painter, find, only, workflow

from persona_core.consent import Consent
from persona_core.persona import Persona
from tools.comfy_server import ComfyServer
from tools.small_world import NODE_PACK

AGREED = {"consent_by": "Ann Smith", "consent_on": "2026-11-27", "consent_purpose": "portraits"}
ANN = Consent("Ann Smith", "2026-11-27", "portraits")


def load(name: str) -> dict:
    return {"class_type": "PersonaLoad", "inputs": {"persona_name": f"{name}.safetensors"}}


def saving(source: str, name: str, **said: str) -> dict:
    return {
        "load": load(source),
        "save": {"class_type": "PersonaSave", "inputs": {"persona": ["load", 0], "name": name, **said}},
    }


def saved(server, prompt: dict) -> Consent:
    run = server.run(prompt)
    assert run.status == "success", run.error
    return Persona.load(Path(run.outputs["save"]["text"][0])).consent


@pytest.fixture
def source(server):
    put_persona(server.base / "models/personas/consent/source.safetensors")
    return "consent/source"


def test_save_persona_writes_it_and_leaves_what_is_empty(server, source):
    assert saved(server, saving(source, "consent/ann")) == Consent()
    assert saved(server, saving(source, "consent/ann", **AGREED)) == ANN
    assert saved(server, saving("consent/ann", "consent/copy")) == ANN
    until = saved(server, saving("consent/copy", "consent/copy", consent_until="2027-11-27"))
    assert until == Consent(ANN.by, ANN.on, ANN.purpose, "2027-11-27")


@pytest.mark.parametrize("wrong", [{"consent_until": "2027-11-27"}, {**AGREED, "consent_on": "yesterday"}])
def test_what_cannot_be_one_is_a_sentence_and_nothing_is_saved(server, source, wrong):
    run = server.run(saving(source, "consent/wrong", **wrong))
    assert (run.status, run.error_type) == ("error", "PersonaSave") and run.error.startswith("The consent "), run
    assert not (server.base / "models/personas/consent/wrong.safetensors").exists()


def test_persona_info_tells_it(server, source):
    assert saved(server, saving(source, "consent/told", **AGREED)) == ANN
    for name, says in ((source, "none is noted"), ("consent/told", "Ann Smith, on 2026-11-27, for portraits")):
        info = {"load": load(name), "info": {"class_type": "PersonaInfo", "inputs": {"persona": ["load", 0]}}}
        assert f"consent: {says}\n" in server.run(info).outputs["info"]["text"][0]


@pytest.fixture(scope="module")
def strict(tmp_path_factory, photo):
    """A server whose owner asks for consent."""
    packs, env = [NODE_PACK], {"COMFYUI_PERSONA_CONSENT": "required"}
    with ComfyServer(tmp_path_factory.mktemp("strict"), cpu=True, packs=packs, env=env) as running:
        running.upload_image(photo, "photo.png")
        yield running


@pytest.fixture(scope="module")
def learned(strict):
    """Learned there, which asks nobody: it is how a persona comes to have a file."""
    prompt = learning()
    run = strict.run(prompt)
    assert run.status == "success", run.error
    return Path(run.outputs[find(prompt, "PersonaLearn")]["text"][0])


def learning(**inputs) -> dict:
    return only(by_small_painter(workflow(changes={"PersonaLearn": {"name": "ann", **inputs}})), "PersonaLearn")


def painting(strict, name: str = "ann"):
    return strict.run(by_small_painter(workflow("load_and_generate", {"PersonaLoad": load(name)["inputs"]})))


def test_apply_refuses_a_persona_without_consent_where_it_is_asked_for(strict, learned):
    run = painting(strict)
    assert (run.status, run.error_type) == ("error", "PersonaApply"), run
    assert "'ann' is not applied, because no consent is noted in its file" in run.error and "\n" not in run.error
    assert saved(strict, saving("ann", "ann", **AGREED, consent_until="2020-01-01")).until == "2020-01-01"
    assert "its consent ended on 2020-01-01" in painting(strict).error
    assert saved(strict, saving("ann", "ann", consent_until="9999-12-31"))
    assert (run := painting(strict)).status == "success", run.error


def test_no_workflow_can_switch_that_off(strict, learned):
    replace(Persona.load(learned), consent=Consent()).save(learned.with_name("without.safetensors"))
    prompt = by_small_painter(workflow("load_and_generate", {"PersonaLoad": load("without")["inputs"]}))
    prompt[find(prompt, "PersonaApply")]["inputs"] |= {"consent": "Ann", "strict": False, "strength": 0.0}
    run = strict.run(prompt, extra_data={"COMFYUI_PERSONA_CONSENT": ""})
    assert (run.status, run.error_type) == ("error", "PersonaApply") and "no consent" in run.error, run


def test_it_stays_where_the_same_is_learned_again(strict, learned):
    assert saved(strict, saving("ann", "ann", **AGREED, consent_until="9999-12-31"))
    agreed = Persona.load(learned).consent
    for reuse in (True, False):
        run = strict.run(learning(reuse=reuse, train_seed=0))
        assert run.status == "success", run.error
        assert agreed and Persona.load(learned).consent == agreed
