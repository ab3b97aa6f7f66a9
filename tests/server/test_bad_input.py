"""Mistakes an artist can make: a clear sentence at the right node, and a server that lives on."""

import io
import re
import subprocess

import numpy as np
import pytest
from gallery import put_persona
from PIL import Image
from prompts import find, only, with_few_contexts, workflow
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import ones

from tools.comfy_server import PromptRefused

LEARN, LOAD, APPLY, MASK, PARTITION, SAVE = (
    "PersonaLearn", "PersonaLoad", "PersonaApply", "PersonaFaceMask", "PersonaStagePartition", "PersonaSave",
)  # fmt: skip


def png(pixels) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.asarray(pixels, dtype=np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="module", autouse=True)
def material(server):
    """Pictures and files that are wrong in one way each, and a good persona."""
    grey = np.full((96, 128, 3), 128)
    server.upload_image(png(grey), "nobody.png")
    alpha = np.dstack([np.asarray(grey), np.full((96, 128), 255)])
    server.upload_image(png(alpha), "black_mask.png")  # LoadImage's mask is 1 - alpha
    good = with_few_contexts(only(workflow(changes={LEARN: {"name": "good"}}), LEARN))
    assert server.run(good).status == "success"
    folder = server.base / "models/personas"
    good = (folder / "good.safetensors").read_bytes()
    with safe_open(folder / "good.safetensors", "pt") as file:
        save_file(
            load_file(folder / "good.safetensors"),
            folder / "colon.safetensors",
            {**file.metadata(), "placeholder": "a:b"},
        )
    (folder / "truncated.safetensors").write_bytes(good[: len(good) // 2])
    (folder / "text.safetensors").write_bytes(b"I am not a model")
    save_file({"lora_up": ones(2)}, folder / "lora.safetensors")
    put_persona(folder / "sd2.safetensors", family="SD2.x (clip_h, 768 wide)")


def learning(**inputs):
    return only(workflow(changes={LEARN: {"name": "bad", **inputs}}), LEARN)


def loading(file):
    return workflow("load_and_generate", {LOAD: {"persona_name": f"{file}.safetensors"}})


def applying(**inputs):
    return workflow("load_and_generate", {LOAD: {"persona_name": "good.safetensors"}, APPLY: inputs})


def with_photo(picture, keep_mask=True, **inputs):
    prompt = learning(**inputs)
    prompt[find(prompt, "LoadImage")]["inputs"]["image"] = picture
    if not keep_mask:
        del prompt[find(prompt, LEARN)]["inputs"]["mask"]
    return only(prompt, LEARN)


def rewired(prompt, node, **links):
    """Other links into a node; nodes given as dicts are added."""
    for number, (name, source) in enumerate(links.items()):
        if isinstance(source, dict):
            prompt[f"extra{number}"], source = source, [f"extra{number}", 0]
        prompt[find(prompt, node)]["inputs"][name] = source
    return prompt


def solid_mask(width, height, value=1.0):
    return {"class_type": "SolidMask", "inputs": {"value": value, "width": width, "height": height}}


CASES = {
    "empty name": (lambda: learning(name="  "), LEARN, "name is empty"),
    "name with a folder": (lambda: learning(name="friends/ann"), LEARN, "plain name without folders, such as 'ann'"),
    "name that leaves the folder": (lambda: learning(name="../../ann"), LEARN, "plain name without folders"),
    "name no file can have": (lambda: learning(name='a:b"c'), LEARN, "cannot be a file's name"),
    "supercategory of more tokens": (lambda: learning(supercategory="fluffy cat", tokens=1), LEARN, "makes 2 tokens.*has 1. Set"),
    "empty supercategory": (lambda: learning(supercategory=""), LEARN, "supercategory '' must be a common word"),
    "no face, Face Mask": (lambda: with_photo("nobody.png"), MASK, r"No face.*picture 0 .*128 x 96"),
    "no face, Learn Persona": (lambda: with_photo("nobody.png", keep_mask=False), LEARN, r"No face.*picture 0 .*128 x 96"),
    "face index beyond": (lambda: only(workflow(changes={MASK: {"face_index": 7}}), LEARN), MASK, "Only 1 face.*no face 7"),
    "missing model pack": (
        lambda: only(workflow(changes={MASK: {"detector": "insightface"}}), LEARN), MASK, "No InsightFace model pack.*Searched",
    ),
    "mask of another size": (
        lambda: rewired(learning(), LEARN, mask=solid_mask(100, 80)), LEARN, "mask is 100x80 pixels but the picture is 512x512",
    ),
    "Load Image's mask of a photo without transparency": (
        lambda: rewired(learning(), LEARN, mask=solid_mask(64, 64, 0.0)), LEARN, "mask is empty: Load Image.*without transparency",
    ),
    "all-black mask": (lambda: rewired(learning(), LEARN, mask=solid_mask(512, 512, 0.0)), LEARN, "mask of picture 0 is all black"),
    "black mask, partition": (
        lambda: only(rewired(workflow("stages_from_attention"), PARTITION, mask=solid_mask(512, 512, 0.0)), LEARN), PARTITION, "all black",
    ),
    "t_lo above t_hi": (
        lambda: rewired(learning(), LEARN, stages={"class_type": "PersonaStages", "inputs": {"t_lo": 800, "t_hi": 400}}),
        "PersonaStages", "t_lo < t_hi.*t_lo is 800 and t_hi is 400",
    ),
    "truncated persona": (lambda: loading("truncated"), LOAD, "'truncated.safetensors' is no readable .safetensors"),
    "text as persona": (lambda: loading("text"), LOAD, "no readable .safetensors"),
    "foreign safetensors": (lambda: loading("lora"), LOAD, "'lora.safetensors' cannot be used as a persona: it is no persona"),
    "persona of another family": (lambda: loading("sd2"), APPLY, r"learned for 'SD2\.x.*this CLIP is SD1\.x"),
    "placeholder that ends with a space": (lambda: applying(placeholder="<ann> "), APPLY, "must not be empty or begin or end"),
    "placeholder of a file that is none": (lambda: {**loading("colon"), "10": {**applying(placeholder="")["10"]}}, APPLY, "'a:b' must not hold brackets"),
    "placeholder with a colon": (lambda: applying(placeholder="a:b"), APPLY, "brackets, colons"),
    "two personas of one placeholder": (
        lambda: rewired(
            {**applying(), "second": {**applying()["10"], "inputs": {**applying()["10"]["inputs"], "model": ["10", 0], "clip": ["10", 1]}}},
            "CLIPTextEncode", clip=["second", 1],
        ),
        APPLY, "cannot be told from '<ann>'",
    ),
    "save under a bad name": (
        lambda: {"1": loading("good")["9"], "2": {"class_type": SAVE, "inputs": {"persona": ["1", 0], "name": "../out"}}},
        SAVE, r"'\.\.' in the name",
    ),
    "save onto a file as if it were a folder": (
        lambda: {"1": loading("good")["9"], "2": {"class_type": SAVE, "inputs": {"persona": ["1", 0], "name": "good.safetensors/x"}}},
        SAVE, "could not be saved|cannot be a file's name",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_mistake_gets_a_sentence_and_the_server_lives_on(server, case):
    prompt, node, says = CASES[case]
    run = server.run(prompt())
    assert (run.status, run.error_type) == ("error", node), run
    assert re.search(says, run.error), run.error
    assert "Traceback" not in run.error and len(run.error) < 600
    assert server.get("/system_stats")["system"]


@pytest.mark.parametrize(
    ("prompt", "says"),
    [
        (lambda: learning(steps=-1), "steps"),
        (lambda: learning(preset="fast"), "preset is .fast.*Choose one of: auto, quick, balanced, published"),
        (lambda: learning(resolution=10), "resolution"),
        (lambda: learning(tokens=99), "tokens"),
        (lambda: loading("nobody_of_this_name"), r"no persona 'nobody_of_this_name\.safetensors'.*Searched"),
        (lambda: applying(strength=3.0), "strength"),
        (lambda: applying(late_stage="word"), "late_stage is 'word'.*Choose one of: supercategory, persona"),
        (lambda: only(workflow(changes={MASK: {"no_face": "guess"}}), LEARN), "no_face is 'guess'"),
        (lambda: rewired(learning(), LEARN, stages=["1", 0]), "stages"),
    ],
)
def test_values_out_of_range_are_refused_before_anything_runs(server, prompt, says):
    with pytest.raises(PromptRefused, match=says):
        server.submit(prompt())


@pytest.mark.parametrize(("placeholder", "missing"), [("<somebody>", True), ("<ann>", False)])
def test_a_placeholder_that_no_prompt_holds_is_said_at_the_sampler(server, texts, placeholder, missing):
    """The picture is painted all the same: the same MODEL may well paint other prompts too."""
    run = server.run(applying(placeholder=placeholder, strength=0.9), texts)
    assert run.status == "success", run.error
    assert any(f"No prompt of this sampler holds {placeholder}" in text for text in texts) == missing


def test_a_checkpoint_without_vae_or_clip_is_a_sentence(server, checkpoint_without):
    for part, says in (("first_stage_model.", "VAE is empty"), ("cond_stage_model.", "CLIP is empty")):
        checkpoint = {"ckpt_name": checkpoint_without(part)}
        prompt = workflow(changes={LEARN: {"name": "partial"}, "CheckpointLoaderSimple": checkpoint})
        run = server.run(only(prompt, LEARN))
        assert (run.status, run.error_type) == ("error", LEARN) and says in run.error, run.error


def test_a_full_disk_keeps_the_persona_until_there_is_room(server, texts):
    """A real full disk: the personas folder is a tiny file system of its own."""
    folder = server.base / "models/personas"
    older = (folder / "good.safetensors").read_bytes()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("mounting a tiny file system needs root")
    try:
        (folder / "squeezed.safetensors").write_bytes(b"an older persona")
        run = server.run(learning(name="squeezed", keep_mapper=True), texts)
        assert (run.status, run.error_type) == ("error", LEARN)
        assert "could not be saved" in run.error and "No space left" in run.error and "run again" in run.error
        assert {path.name for path in folder.iterdir()} == {"squeezed.safetensors", ".lock"}
        assert (folder / "squeezed.safetensors").read_bytes() == b"an older persona"
    finally:
        subprocess.run(["umount", folder], check=True)
    texts.clear()
    run = server.run(learning(name="squeezed", keep_mapper=True), texts)
    assert run.status == "success", run.error
    assert not any("step " in text for text in texts)  # it was learned before; now it is saved
    assert (folder / "squeezed.safetensors").is_file() and (folder / "good.safetensors").read_bytes() == older
