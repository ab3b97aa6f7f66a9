"""Learning and painting through the HTTP API of a real server."""

import random
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from prompts import by_small_painter, find, only, pictures, with_few_contexts, workflow
from safetensors.torch import load_file

from persona_core.persona import Persona
from tools.comfy_server import ComfyServer

LEAST = {"resolution": 32, "tokens": 1, "te_weight": 0.0}


def learn(name: str, **inputs) -> dict:
    """A prompt that only learns."""
    return only(workflow(changes={"PersonaLearn": {"name": name, **inputs}}), "PersonaLearn")


def persona_file(server, name: str) -> Path:
    return server.base / "models/personas" / f"{name}.safetensors"


def leftovers(server) -> list[str]:
    """Hidden files, but for the lock that ComfyUIs on one folder share: it stays, and holds nothing."""
    hidden = (server.base / "models/personas").rglob(".*")
    return [path.name for path in hidden if path.name != ".lock" or path.stat().st_size]


def plain_picture(server) -> np.ndarray:
    """A picture by the same checkpoint without any node of the pack, painted anew each time."""
    prompt = only(workflow(changes={"CLIPTextEncode": {"text": "a photo of a face"}}), "SaveImage")
    loader, apply = find(prompt, "CheckpointLoaderSimple"), find(prompt, "PersonaApply")
    for node in prompt.values():
        for key, value in node["inputs"].items():
            if isinstance(value, list) and value[0] == apply:
                node["inputs"][key] = [loader, value[1]]
    prompt[find(prompt, "SaveImage")]["inputs"]["filename_prefix"] = f"plain_{random.getrandbits(60)}"
    prompt = only(prompt, "SaveImage")
    assert not any(node["class_type"].startswith("Persona") for node in prompt.values())
    run = server.run(prompt)
    assert run.status == "success", run.error
    return pictures(server, run, find(prompt, "SaveImage"))[0]


@pytest.mark.parametrize("name", ["learn_and_generate", "stages_from_attention"])
def test_the_workflows_give_a_persona_file_and_pictures(server, texts, name):
    prompt = workflow(name, {"PersonaLearn": {"name": name}, "EmptyLatentImage": {"batch_size": 2}})
    run = server.run(prompt, texts)
    assert run.status == "success", run.error
    painted = pictures(server, run, find(prompt, "SaveImage"))
    assert len(painted) == 2 and all(picture.shape == (64, 64, 3) and picture.std() > 5 for picture in painted)
    [path] = run.outputs[find(prompt, "PersonaLearn")]["text"]
    assert Path(path) == persona_file(server, name) and Path(path).stat().st_size <= 3_000_000
    persona = Persona.load(Path(path))
    assert persona.family == "SD1.x (clip_l, 768 wide)" and len(persona.losses["noise"]) == 4
    assert pictures(server, run, find(prompt, "PersonaLearn"))[0].shape[1] == 768
    said = "\n".join(texts)
    assert f"Learning '{name}': 4 steps of 2, 64x64, 1 picture" in said
    assert "step 4/4, loss noise" in said and "left" in said and f"saved as {name}.safetensors" in said
    assert not leftovers(server)


@pytest.mark.parametrize(
    "preset, steps, least, most",
    [("quick", "30 steps of 2", 0.0006, 0.0006), (None, "at most 4000 steps of 2", 1e-5, 1e-2)],
)
def test_where_numbers_are_0_the_preset_decides(painter, photo, texts, preset, steps, least, most):
    """On the small painter, which learns so much in a moment."""
    name = f"preset_{preset}"
    painter.upload_image(photo, "photo.png")
    prompt = by_small_painter(learn(name, steps=0, learning_rate=0.0, batch_size=0, **LEAST))
    inputs = prompt[find(prompt, "PersonaLearn")]["inputs"]
    del inputs["preset"]  # as a prompt from before there were any
    inputs |= {"preset": preset} if preset else {}
    run = painter.run(prompt, texts)
    assert run.status == "success", run.error
    assert f"Learning '{name}': {steps}, " in "\n".join(texts)
    assert least <= Persona.load(persona_file(painter, name)).settings["learning rate"] <= most


def test_that_memory_ran_out_is_said_until_the_end(server, texts):
    prompt = learn("crowded")
    inputs = prompt[find(prompt, "PersonaLearn")]["inputs"]
    prompt["one row at a time"] = {"class_type": "OutOfMemory", "inputs": {"model": inputs["model"]}}
    inputs["model"] = ["one row at a time", 0]
    run = server.run(prompt, texts)
    assert run.status == "success", run.error
    trouble = "Out of memory at step 1: goes on from there with 1 of 2 pictures at once"
    first = next(place for place, text in enumerate(texts) if trouble in text)
    assert all(trouble in text for text in texts[first:]) and len(texts) > first + 2
    assert texts[-1].startswith("Learned 'crowded'; saved as crowded.safetensors")


def test_the_third_workflow_paints_with_what_was_learned(server):
    assert server.run(with_few_contexts(learn("ann"))).status == "success"
    prompt = workflow("load_and_generate")
    run = server.run(prompt)
    assert run.status == "success", run.error
    assert pictures(server, run, find(prompt, "SaveImage"))[0].std() > 5


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory):
    """A folder for personas on another disk, as it were."""
    return tmp_path_factory.mktemp("other_disk") / "mine"


@pytest.fixture(scope="module")
def restarted(server, elsewhere):
    """The server started anew: it remembers nothing, and is told of another folder for personas."""
    elsewhere.mkdir()
    config = elsewhere.parent / "paths.yaml"
    config.write_text(f"other_disk:\n  base_path: {elsewhere.parent}\n  is_default: false\n  personas: mine\n")
    more = ("--extra-model-paths-config", str(config))
    with ComfyServer(server.base, cpu=True, extra_args=more, log=server.base / "second.log") as running:
        yield running


def test_a_batch_of_prompts_learns_once_even_across_a_restart(server, texts, request):
    def ask(where, words):
        prompt = with_few_contexts(workflow(changes={"PersonaLearn": {"name": "once"}}))
        prompt["11"]["inputs"]["text"] = f"a photo of <ann> {words}"
        texts.clear()
        assert where.run(prompt, texts).status == "success"
        return "\n".join(texts)

    assert "Learning 'once'" in ask(server, "in snow")
    before = persona_file(server, "once").read_bytes()
    server.run(only(workflow("load_and_generate", {"PersonaLoad": {"persona_name": "once.safetensors"}}), "SaveImage"))
    assert "Learning 'once'" not in ask(server, "at sea")
    said = ask(request.getfixturevalue("restarted"), "on a hill")
    assert "Loaded 'once': it was learned from these inputs before" in said and "Learning 'once'" not in said
    assert persona_file(server, "once").read_bytes() == before


def test_other_inputs_learn_anew_and_the_older_persona_is_kept(server, texts):
    server.run(learn("kept", train_seed=1, steps=2))
    older = load_file(persona_file(server, "kept"))
    old_print = Persona.load(persona_file(server, "kept")).fingerprint
    server.run(learn("kept", train_seed=2, steps=2), texts)
    assert "Learning 'kept'" in "\n".join(texts)
    kept = load_file(persona_file(server, f"kept.{old_print[:8]}"))
    assert all((kept[key] == value).all() for key, value in older.items())
    newer = load_file(persona_file(server, "kept"))
    assert not all(torch.equal(newer[key], value) for key, value in older.items())


def test_going_back_to_earlier_settings_loads_the_earlier_persona(server, texts):
    for seed in (1, 2):
        server.run(learn("switched", train_seed=seed, steps=2))
    server.run(learn("switched", train_seed=1, steps=2, reuse=True), texts)
    assert any("Loaded 'switched'" in text for text in texts) and not any("Learning" in text for text in texts)


def test_interrupted_and_queued_again_it_ends_with_the_same_persona(server, texts):
    before = plain_picture(server)
    assert server.run(learn("whole", steps=6, train_seed=7)).status == "success"
    stop_at = random.randint(1, 4)
    seen = []

    def interrupt(kind, data):
        if kind == "progress" and data["value"] > 0:
            seen.append(data["value"])
            if data["value"] == stop_at:
                server.interrupt(data["prompt_id"])

    run = server.run(learn("halves", steps=6, train_seed=7), interrupt)
    assert run.status == "interrupted" and max(seen) <= stop_at + 1, (stop_at, seen)
    assert not persona_file(server, "halves").exists() and len(leftovers(server)) == 1
    assert np.array_equal(before, plain_picture(server))
    run = server.run(learn("halves", steps=6, train_seed=7), texts)
    assert run.status == "success", run.error
    first = next(match for text in texts if (match := re.search(r"step (\d+)/6", text)))
    assert int(first[1]) > max(seen) - 1
    whole, halves = (load_file(persona_file(server, name)) for name in ("whole", "halves"))
    assert all((whole[key] == value).all() for key, value in halves.items())
    assert not leftovers(server)
    assert np.array_equal(before, plain_picture(server))


def test_the_seed_decides_and_reuse_off_learns_again(server, texts):
    server.run(learn("seeded", train_seed=3, steps=2))
    first = load_file(persona_file(server, "seeded"))
    server.run(learn("seeded", train_seed=3, steps=2, reuse=False), texts)
    assert "Learning 'seeded'" in "\n".join(texts)
    again = load_file(persona_file(server, "seeded"))
    assert all((first[key] == value).all() for key, value in again.items())


def test_painting_without_model_routed_keeps_the_persona(server):
    server.run(with_few_contexts(learn("routed")))
    loaded = {"PersonaLoad": {"persona_name": "routed.safetensors"}}
    prompt = workflow("load_and_generate", loaded)
    full = pictures(server, server.run(prompt), find(prompt, "SaveImage"))[0]
    sampler, loader = find(prompt, "KSampler"), find(prompt, "CheckpointLoaderSimple")
    prompt[sampler]["inputs"]["model"] = [loader, 0]
    prompt[find(prompt, "SaveImage")]["inputs"]["filename_prefix"] = "unrouted"
    assert np.array_equal(full, pictures(server, server.run(prompt), find(prompt, "SaveImage"))[0])


def test_strength_zero_is_the_supercategorys_picture(server):
    server.run(with_few_contexts(learn("zero")))
    prompt = workflow(
        "load_and_generate", {"PersonaLoad": {"persona_name": "zero.safetensors"}, "PersonaApply": {"strength": 0.0}}
    )
    prompt["11"]["inputs"]["text"] = "a photo of a <ann>"
    prompt["12"]["inputs"]["text"] = "a photo of a face"
    prompt["14"]["inputs"].update(cfg=1.0)
    run = server.run(prompt)
    assert run.status == "success", run.error
    [zero] = pictures(server, run, find(prompt, "SaveImage"))
    prompt["14"]["inputs"]["positive"] = ["12", 0]
    prompt["16"]["inputs"]["filename_prefix"] = "plain_words"
    assert np.array_equal(zero, pictures(server, server.run(prompt), "16")[0])
    prompt["10"]["inputs"]["strength"] = 1.0
    prompt["14"]["inputs"]["positive"] = ["11", 0]
    prompt["16"]["inputs"]["filename_prefix"] = "full_strength"
    assert not np.array_equal(zero, pictures(server, server.run(prompt), "16")[0])


def test_personas_live_in_comfys_own_folders(server):
    server.run(with_few_contexts(learn("filed", steps=2)))
    (server.base / "models/personas/friends").mkdir(exist_ok=True)
    persona_file(server, "filed").rename(server.base / "models/personas/friends/filed.safetensors")
    options = server.object_info()["PersonaLoad"]["input"]["required"]["persona_name"]
    assert "friends/filed.safetensors" in str(options)
    prompt = workflow("load_and_generate", {"PersonaLoad": {"persona_name": "friends/filed.safetensors"}})
    assert server.run(prompt).status == "success"


def test_what_is_learned_goes_to_the_default_folder(server, tmp_path):
    config = tmp_path / "paths.yaml"
    config.write_text(f"disk:\n  base_path: {tmp_path}\n  is_default: true\n  personas: mine\n")
    more = ("--extra-model-paths-config", str(config))
    with ComfyServer(server.base, cpu=True, extra_args=more, log=tmp_path / "server.log") as running:
        run = running.run(learn("placed", train_seed=77, steps=1))
    assert run.status == "success", run.error
    assert (tmp_path / "mine/placed.safetensors").is_file()


def test_where_no_other_is_the_default_it_goes_to_comfys_own(server, restarted):
    run = restarted.run(learn("at_home", train_seed=77, steps=1))
    assert run.status == "success", run.error
    assert persona_file(server, "at_home").is_file()


def test_extra_model_paths_are_searched(server, restarted, elsewhere, texts):
    learning = with_few_contexts(learn("elsewhere", steps=2))
    server.run(learning)
    persona_file(server, "elsewhere").rename(elsewhere / "elsewhere.safetensors")
    run = restarted.run(workflow("load_and_generate", {"PersonaLoad": {"persona_name": "elsewhere.safetensors"}}))
    assert run.status == "success", run.error
    restarted.run(learning, texts)
    assert any("Loaded 'elsewhere'" in text for text in texts)


def test_save_and_info(server):
    server.run(learn("original", steps=2))
    prompt = {
        "1": {"class_type": "PersonaLoad", "inputs": {"persona_name": "original.safetensors"}},
        "2": {"class_type": "PersonaSave", "inputs": {"persona": ["1", 0], "name": "friends/copy"}},
        "3": {"class_type": "PersonaInfo", "inputs": {"persona": ["1", 0]}},
    }
    run = server.run(prompt)
    assert run.status == "success", run.error
    copy = Persona.load(server.base / "models/personas/friends/copy.safetensors")
    assert copy.name == "copy" and copy.fingerprint == Persona.load(persona_file(server, "original")).fingerprint
    [text] = run.outputs["3"]["text"]
    assert "supercategory: face" in text and "dynamic stage: 400 to 800" in text and "learning rate: 0.0001" in text
    assert pictures(server, run, "3")[0].shape[1] == 768


def test_stages_by_hand_reach_the_persona(server):
    prompt = workflow(changes={"PersonaLearn": {"name": "by_hand"}})
    prompt["20"] = {"class_type": "PersonaStages", "inputs": {"t_lo": 123, "t_hi": 456}}
    prompt[find(prompt, "PersonaLearn")]["inputs"]["stages"] = ["20", 0]
    assert server.run(only(prompt, "PersonaLearn")).status == "success"
    stages = Persona.load(persona_file(server, "by_hand")).representation.stages
    assert (stages.t_lo, stages.t_hi) == (123, 456)


def test_no_mask_no_crop_other_subjects_and_mirrored_pictures(server, texts):
    prompt = learn("vase", supercategory="vase", mirror=True, crop_to_face=False, tokens=1, te_weight=0.0)
    del prompt[find(prompt, "PersonaLearn")]["inputs"]["mask"]
    run = server.run(only(prompt, "PersonaLearn"), texts)
    assert run.status == "success", run.error
    persona = Persona.load(persona_file(server, "vase"))
    assert persona.representation.tokens == 1 and set(persona.losses) == {"noise"}
    assert "2 pictures; time left" in "\n".join(texts)
