"""What is sent to a server: the artist's workflow, and the same in the graph that the editor opens."""

import io
import json

import numpy as np
import pytest
from PIL import Image

from miniworld import workflow
from tools.small_world import GRAPH, PHOTO, people


@pytest.mark.parametrize("name", [workflow.PERSONA_MAGIC, workflow.KV_TOKENS])
def test_the_prompt_is_the_artists_workflow_with_another_painter(name):
    artists = json.loads((workflow.WORKFLOWS / f"{name}.json").read_text())
    ours = workflow.learn_and_paint(PHOTO, name, KSampler={"steps": 7})
    assert {key: node["class_type"] for key, node in ours.items()} == {
        key: node["class_type"] for key, node in artists.items() if key not in ("3", "17")
    } | {"1": "MiniWorldLoader"}
    assert links_of(ours) <= set(ours) and ours["4"]["inputs"]["mask"] == ["2", 1]
    asked = workflow.asking(ours, "a <ann> in a hat", 5)
    assert asked["11"]["inputs"]["text"] == "a <ann> in a hat" and asked["12"]["inputs"]["text"] == ""
    assert (asked["14"]["inputs"]["seed"], asked["14"]["inputs"]["steps"]) == (5, 7)
    assert set(workflow.only_learning(ours)) == {"1", "2", "4"} and ours["4"]["inputs"]["reuse"]


def links_of(prompt: dict) -> set[str]:
    return {value[0] for node in prompt.values() for value in node["inputs"].values() if isinstance(value, list)}


def test_a_second_persona_stands_behind_the_first():
    one = workflow.learn_and_paint(PHOTO)
    two = workflow.beside(one, "bob")
    assert links_of(two) <= set(two) and two["18"]["inputs"] == {"persona_name": "bob.safetensors"}
    assert (two["19"]["inputs"]["clip"], two["19"]["inputs"]["placeholder"]) == (["10", 1], "<bob>")
    assert two["11"]["inputs"]["clip"] == two["12"]["inputs"]["clip"] == ["19", 1]
    assert two["14"]["inputs"]["model"] == ["19", 0] and two["10"] == one["10"]


def test_the_photos_mask_is_what_load_image_reads():
    person = people()[0]
    pixels = np.asarray(Image.open(io.BytesIO(workflow.photo_file(person)))) / 255
    assert pixels[..., :3] == pytest.approx(person.photo.movedim(0, -1).numpy(), abs=1 / 255)
    assert 1 - pixels[..., 3] == pytest.approx(person.mask.numpy(), abs=1 / 255)


def test_the_graph_for_the_editor_is_up_to_date():
    """Else: python -m tools.graph_workflows learn_a_face"""
    graph = {str(node["id"]): node for node in json.loads(GRAPH.read_text())["nodes"]}
    for key, node in workflow.learn_and_paint(PHOTO).items():
        widgets = [value for value in graph[key].get("widgets_values", []) if value not in ("fixed", "image")]
        assert widgets == [value for value in node["inputs"].values() if not isinstance(value, list)], key
