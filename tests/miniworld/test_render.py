"""Pictures and masks are what they say."""

import time
from dataclasses import replace

import pytest
import torch

from miniworld.drawing.canvas import Canvas
from miniworld.drawing.identity import Cat, Person
from miniworld.drawing.look import EXPRESSIONS, Look
from miniworld.drawing.render import boxes, layers, render
from miniworld.drawing.scene import PLACES, SIZES, Figure, draw_scene


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def some_scenes(count: int, seed: int, kinds=(Person,)):
    g = generator(seed)
    return [draw_scene([kind.draw(g) for kind in kinds], g) for _ in range(count)]


@pytest.fixture(scope="module")
def scenes():
    return (
        some_scenes(10, 0)
        + some_scenes(6, 1, (Cat,))
        + some_scenes(6, 2, (Person, Person))
        + some_scenes(2, 3, (Person, Cat))
    )


def test_pictures_are_in_range(scenes):
    pictures, masks = render(scenes)
    assert pictures.shape == (24, 3, 128, 128) and masks.shape == (24, 2, 128, 128) and masks.dtype == torch.bool
    assert pictures.isfinite().all() and pictures.min() >= 0 and pictures.max() <= 1
    assert (pictures.flatten(1).std(1) > 0.05).all()


def test_the_same_scenes_give_the_same_pictures(scenes):
    assert torch.equal(render(scenes)[0], render(scenes)[0])


def test_a_picture_does_not_depend_on_what_is_drawn_beside_it(scenes):
    together, masks = render(scenes)
    for row, scene in enumerate(scenes):
        alone, mask = render([scene])
        assert (alone[0] - together[row]).abs().max() < 1e-4, row
        assert (mask[0] == masks[row, : mask.shape[1]]).float().mean() > 0.999


def test_outside_a_figure_is_the_picture_without_it(scenes, monkeypatch):
    monkeypatch.setattr(
        "miniworld.drawing.render.BLUR", dict.fromkeys(SIZES, 0.0)
    )  # or it depends on the largest figure
    for scene in scenes:
        pictures, _, wholes = (found[0] for found in layers([scene]))
        for place in range(len(scene.figures)):
            others = tuple(figure for index, figure in enumerate(scene.figures) if index != place)
            without = render([replace(scene, figures=others)])[0][0]
            outside = wholes[place] == 0
            assert (pictures[:, outside] - without[:, outside]).abs().max() < 1e-5
            assert (pictures - without).abs().amax(0)[wholes[place] > 0.9].mean() > 0.05


def test_outside_the_mask_no_face_and_no_hair_was_painted(scenes, monkeypatch):
    pictures, masks = render(scenes)
    fill = Canvas.fill
    monkeypatch.setattr(
        Canvas,
        "fill",
        lambda self, alpha, colour, head=1.0: fill(
            self, alpha, 1 - colour if head and self.paint.shape[1] == 5 else colour, head
        ),
    )
    changed, _ = render(scenes)
    outside = ~masks.any(1)
    difference = (pictures - changed).abs().amax(1)
    assert difference[outside].max() == 0 and difference[~outside].mean() > 0.1


def test_every_figure_has_its_mask_and_box():
    two = some_scenes(8, 4, (Person, Person))
    _, masks = render(two)
    found = boxes(masks)
    for row in range(8):
        (l0, t0, r0, b0), (l1, t1, r1, b1) = found[row].tolist()
        assert (l0 + r0) / 2 < 64 < (l1 + r1) / 2
        assert masks[row, 0, t0:b0, l0:r0].sum() == masks[row, 0].sum() > 50
        assert masks[row, 1, t1:b1, l1:r1].sum() == masks[row, 1].sum() > 50


def test_a_near_head_is_larger():
    person, areas = Person.draw(generator(5)), []
    for size in SIZES.values():
        areas.append(
            render([replace(some_scenes(1, 6)[0], figures=(Figure(person, Look(), size=size),))])[1].sum().item()
        )
    assert areas[0] > 1.5 * areas[1] > 6 * areas[2] > 300


def test_a_turned_head_looks_there():
    """Mouth and nose move: painted lips are found to the left, in the middle, to the right."""
    person = replace(
        Person.draw(generator(7)), skin=0.1, lip_colour=1.0, beard=0, cheeks=0.0, freckles=0.0, hair_style=0
    )
    middles, scene = [], replace(some_scenes(1, 6)[0], place="room", time="day")
    for yaw in (-0.85, 0.0, 0.85):
        picture = render([replace(scene, figures=(Figure(person, Look(yaw)),))])[0][0]
        pale = render([replace(scene, figures=(Figure(replace(person, lip_colour=0.0), Look(yaw)),))])[0][0]
        painted = (picture - pale).abs().sum((0, 1))
        middles.append((painted * torch.arange(128)).sum().item() / painted.sum().item())
    assert middles[0] + 5 < middles[1] < middles[2] - 5


def test_every_place_and_expression_differs():
    scene = some_scenes(1, 8)[0]
    places = render([replace(scene, place=place) for place in PLACES])[0].flatten(1)
    faces = render([replace(scene, figures=(Figure(scene.figures[0].who, Look(expression=e)),)) for e in EXPRESSIONS])[
        0
    ].flatten(1)
    for pictures in (places, faces):
        for one in range(len(pictures)):
            for other in range(one):
                assert ((pictures[one] - pictures[other]).abs() > 0.05).sum() > 60


@pytest.mark.slow
def test_speed():
    many, threads = some_scenes(48, 9), torch.get_num_threads()
    torch.set_num_threads(1)
    render(many[:8])
    start, busy = time.time(), time.process_time()
    render(many)
    speed, quick = 48 / (time.time() - start), 48 / (time.process_time() - busy)
    torch.set_num_threads(threads)
    print(f"\n{speed:.0f} pictures a second, {quick:.0f} a second of one core")
    assert quick > 15
