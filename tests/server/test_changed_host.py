"""A host that lacks what the pack needs: it starts, the nodes show up, and each run ends in one sentence."""

import json
import re
from pathlib import Path

import pytest
from prompts import CHECKPOINT, only, workflow

from tools import random_checkpoint
from tools.comfy_server import ComfyServer
from tools.environment import PACK

SUPPORT = Path(__file__).resolve().parents[1] / "support"
LACKS = "comfy.patcher_extension:WrappersMP.CALC_COND_BATCH"


@pytest.fixture(scope="module")
def changed(tmp_path_factory, photo):
    base = tmp_path_factory.mktemp("changed")
    random_checkpoint.build(base / "models/checkpoints" / CHECKPOINT)
    packs = [SUPPORT / "changed_host"]
    with ComfyServer(base, cpu=True, packs=packs, env={"CHANGED_HOST": LACKS}) as server:
        server.upload_image(photo, "photo.png")
        yield server


def test_the_nodes_show_up_as_they_are(changed, server):
    found, usual = changed.object_info(), server.object_info()
    described = json.loads((PACK / "nodes/described.json").read_text())
    for name in described:
        assert found[name]["display_name"] == usual[name]["display_name"]
        assert found[name]["input_order"] == {
            key: one for key, one in usual[name]["input_order"].items() if key != "hidden"
        }
        assert (found[name]["output"], found[name]["output_name"]) == (
            usual[name]["output"],
            usual[name]["output_name"],
        )


@pytest.mark.parametrize("name", ["learn_and_generate", "load_and_generate", "stages_from_attention"])
def test_each_run_ends_in_one_sentence_and_the_server_lives_on(changed, name):
    run = changed.run(workflow(name))
    assert (run.status, run.error_type.startswith("Persona")) == ("error", True), run
    version = re.escape(changed.get("/system_stats")["system"]["comfyui_version"])
    says = (
        rf"^ComfyUI-Persona cannot run in this ComfyUI \({version}\): {re.escape(LACKS)} is missing\. .*update ComfyUI"
    )
    assert re.search(says, run.error) and "\n" not in run.error and len(run.error) < 300, run.error
    assert changed.get("/system_stats")["system"]


def test_what_is_missing_is_in_the_log_too(changed):
    assert f"cannot run in this ComfyUI: {LACKS} is missing" in changed.log.read_text()


def test_nodes_that_do_without_the_pack_still_run(changed):
    mask = only(workflow(), "LoadImage")
    mask["shown"] = {"class_type": "PreviewImage", "inputs": {"images": [next(iter(mask)), 0]}}
    assert changed.run(mask).status == "success"
