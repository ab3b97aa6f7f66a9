"""How large that is what is learned from."""

from prompts import only, workflow

from persona_core.persona import Persona

ONE_STEP = {"steps": 1, "batch_size": 1, "tokens": 1, "te_weight": 0.0}


def test_resolution_0_is_the_familys_and_a_small_face_is_told(server, texts):
    prompt = only(workflow(changes={"PersonaLearn": {"name": "sharp", "resolution": 0} | ONE_STEP}), "PersonaLearn")
    run = server.run(prompt, texts)
    assert run.status == "success", run.error
    persona = Persona.load(server.base / "models/personas/sharp.safetensors")
    assert persona.settings["resolution"] == 512
    assert "is enlarged to 512: it will be painted as blurred as it looks then" in "\n".join(texts)
