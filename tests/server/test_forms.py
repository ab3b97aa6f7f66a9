"""Files of either form, through the nodes of a real server."""

from pathlib import Path

from prompts import find, only, workflow

from persona_core.mapper import StageMapper
from persona_core.persona import Persona
from persona_core.stage_vectors import StageVectors


def learn(name, **inputs):
    return only(workflow(changes={"PersonaLearn": {"name": name, "steps": 2, **inputs}}), "PersonaLearn")


def load_and_save(file, name, form):
    return {
        "1": {"class_type": "PersonaLoad", "inputs": {"persona_name": f"{file}.safetensors"}},
        "2": {"class_type": "PersonaSave", "inputs": {"persona": ["1", 0], "name": name, "form": form}},
    }


def file(server, name) -> Path:
    return server.base / "models/personas" / f"{name}.safetensors"


def test_a_mapper_is_kept_saved_small_and_gone_on_from(server):
    run = server.run(learn("kept", keep_mapper=True, train_seed=41))
    assert run.status == "success", run.error
    for name, form, kind in (
        ("whole", "mapper", StageMapper),
        ("same", "as it is", StageMapper),
        ("small", "small", StageVectors),
    ):
        run = server.run(load_and_save("kept", name, form))
        assert run.status == "success", run.error
        assert type(Persona.load(file(server, name)).representation) is kind
    assert file(server, "small").stat().st_size < 100_000 < file(server, "whole").stat().st_size
    prompt = learn("further", train_seed=41)
    prompt["kept"] = {"class_type": "PersonaLoad", "inputs": {"persona_name": "kept.safetensors"}}
    prompt[find(prompt, "PersonaLearn")]["inputs"]["go_on_from"] = ["kept", 0]
    run = server.run(prompt)
    assert run.status == "success", run.error
    assert Persona.load(file(server, "further")).settings["went on from"] == "kept"
    prompt["kept"]["inputs"]["persona_name"] = "small.safetensors"
    assert "its file has no mapper" in str(server.run(prompt).error)
    assert "has no mapper to save" in str(server.run(load_and_save("small", "again", "mapper")).error)
    assert not file(server, "again").exists()
