"""The plan of the training scenes, and the people of the splits."""

import json
import re

import torch

from miniworld import splits
from miniworld.drawing.pictures import draw
from miniworld.training.dataset import NAMED, VIEWS, from_json, plan, plan_view, to_json
from tools.environment import PACK


def test_a_scene_survives_json():
    for index in range(40):
        scene, _ = plan(index)
        assert from_json(json.loads(json.dumps(to_json(scene)))) == scene


def test_a_plan_is_always_the_same():
    assert plan(7) == plan(7) and plan(7) != plan(8)
    assert plan_view("exam", 3) == plan_view("exam", 3)


def test_people_of_different_splits_never_meet():
    """Nor do those of the training scenes and those of the training views, nor strangers and the named."""
    drawn = {split: {splits.person(split, index) for index in range(60)} for split in splits.SPLITS}
    viewed = {split: {plan_view(split, VIEWS * i)[0].figures[0].who for i in range(60)} for split in splits.SPLITS}
    groups = [*drawn.values(), *viewed.values(), set(splits.named()[0].values()) | set(splits.named()[1].values())]
    assert sum(map(len, groups)) == len(set().union(*groups))


def test_each_release_draws_its_people_anew(monkeypatch):
    published = re.search(r'^version = "(.+)"$', (PACK / "pyproject.toml").read_text(), re.M)
    assert splits.RELEASE == splits.SPLITS["release"] == published[1]
    here = {splits.person("release", index) for index in range(60)}
    monkeypatch.setitem(splits.SPLITS, "release", "0.0.1")
    assert not here & {splits.person("release", index) for index in range(60)}


def test_views_show_the_same_being_in_other_scenes():
    scenes = [plan_view("exam", index)[0] for index in range(2 * VIEWS)]
    assert len({scene.figures[0].who for scene in scenes}) == 2
    assert len({scene.figures[0].look for scene in scenes}) == 2 * VIEWS


def test_kinds_and_names_are_as_frequent_as_said():
    plans = [plan(index) for index in range(600)]
    alone = sum(len(scene.figures) == 1 for scene, _ in plans) / len(plans)
    with_name = [name is not None for _, names in plans for name in names]
    assert abs(alone - 0.79) < 0.06 and abs(sum(with_name) / len(with_name) - NAMED) < 0.06


def test_drawing_gives_bytes_masks_and_boxes():
    pictures, masks, boxes = draw([plan(index)[0] for index in range(4)])
    assert pictures.shape == (4, 128, 128, 3) and pictures.dtype == torch.uint8
    assert masks.shape == (4, 2, 32, 32) and boxes.shape == (4, 2, 4)
