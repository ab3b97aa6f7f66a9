"""What is sent to a server: the artist's workflow, and the same in the graph that the editor opens."""

import io
import json

import numpy as np
import pytest
import torch
from PIL import Image

from miniworld import workflow
from persona_core.photos import Photo
from tools.small_world import GRAPH, learn_and_paint, people


@pytest.mark.parametrize("name", [workflow.PERSONA_MAGIC, workflow.KV_TOKENS])
def test_the_prompt_is_the_artists_workflow_with_another_painter(name):
    artists = json.loads((workflow.WORKFLOWS / f"{name}.json").read_text())
    ours = workflow.learn_and_paint("photo.png", "mask.png", name, KSampler={"steps": 7})
    assert {key: node["class_type"] for key, node in ours.items()} == {
        key: node["class_type"] for key, node in artists.items() if key != "17"
    } | {"1": "MiniWorldLoader", "3": "LoadImageMask"}
    assert links_of(ours) <= set(ours) and ours["4"]["inputs"]["mask"] == ["3", 0]
    assert (ours["2"]["inputs"]["image"], ours["3"]["inputs"]["image"]) == ("photo.png", "mask.png")
    asked = workflow.asking(ours, "a <ann> in a hat", 5)
    assert asked["11"]["inputs"]["text"] == "a <ann> in a hat" and asked["12"]["inputs"]["text"] == ""
    assert (asked["14"]["inputs"]["seed"], asked["14"]["inputs"]["steps"]) == (5, 7)
    assert set(workflow.only_learning(ours)) == {"1", "2", "3", "4"} and ours["4"]["inputs"]["reuse"]


def links_of(prompt: dict) -> set[str]:
    return {value[0] for node in prompt.values() for value in node["inputs"].values() if isinstance(value, list)}


def test_a_second_persona_stands_behind_the_first():
    one = learn_and_paint()
    two = workflow.beside(one, "bob")
    assert links_of(two) <= set(two) and two["18"]["inputs"] == {"persona_name": "bob.safetensors"}
    assert (two["19"]["inputs"]["clip"], two["19"]["inputs"]["placeholder"]) == (["10", 1], "<bob>")
    assert two["11"]["inputs"]["clip"] == two["12"]["inputs"]["clip"] == ["19", 1]
    assert two["14"]["inputs"]["model"] == ["19", 0] and two["10"] == one["10"]


def test_the_photo_can_be_seen_and_is_learned_from_as_it_was():
    """No transparency, large enough; brought back to the world's size, it is what was drawn."""
    person = people()[0]
    photo, mask = workflow.photo_files(person, "someone").values()
    pictures = [Image.open(io.BytesIO(content)) for content in (photo, mask)]
    assert all(one.mode == "RGB" and one.size == (512, 512) for one in pictures)
    image, white = (torch.from_numpy(np.asarray(one).copy()).float() / 255 for one in pictures)
    learned = Photo(image, white[..., 0]).resized(workflow.SIZE, 8)
    assert (learned.image - person.photo.movedim(0, -1)).abs().mean() < 0.01
    assert (learned.mask - person.mask).abs().mean() < 0.01


def test_the_graph_for_the_editor_is_up_to_date():
    """Else: python -m tools.graph_workflows learn_a_face"""
    graph = {str(node["id"]): node for node in json.loads(GRAPH.read_text())["nodes"]}
    for key, node in learn_and_paint().items():
        widgets = [value for value in graph[key].get("widgets_values", []) if value not in ("fixed", "image")]
        assert widgets == [value for value in node["inputs"].values() if not isinstance(value, list)], key
