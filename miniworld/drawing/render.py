"""Scenes to pictures and masks."""

import torch
import torch.nn.functional as F
from torch import Tensor

from .canvas import Canvas, rgb
from .cat_sitter import CatSitter
from .draw_cat import draw_cat
from .draw_inside import draw_kitchen, draw_library, draw_room, draw_stage
from .draw_outside import draw_beach, draw_forest, draw_garden, draw_mountains, draw_night_sky, draw_street
from .draw_person import draw_person
from .identity import COVERING, Cat, Person
from .place import Place
from .scene import TIMES, Figure, Scene
from .sitter import PersonSitter

AT_ONCE = 8  # figures painted together: few enough to stay in the cache
TOWARDS = {"left": (-1.0, -0.35), "right": (1.0, -0.35), "above": (0.0, -1.0)}
# What a figure keeps of its colours.
DIM = {"day": (1.0, 1.0, 1.0), "sunset": (1.0, 0.93, 0.9), "night": (0.9, 0.88, 0.97)}
# The colour of the light, the strength of its rim, the colour of the shade, its strength.
HOURS = {
    "day": ("#fff3d6", 0.5, "#5a4a86", 0.3),
    "sunset": ("#ffc27a", 0.75, "#6a3a78", 0.34),
    "night": ("#bcd0ff", 0.65, "#2c3570", 0.3),
}


@torch.no_grad()
def render(scenes: list[Scene], size: int = 128, fine: int = 2) -> tuple[Tensor, Tensor]:
    """Pictures [B, 3, size, size] in 0..1 and masks [B, figures, size, size], bool: each one's face and hair.

    fine: fine pixels in a pixel's side. Borders are smooth with 1, too, which is twice as fast; 2 keeps small strokes.
    """
    pictures, heads, _ = layers(scenes, size, fine)
    return pictures, heads > 0


def boxes(masks: Tensor) -> Tensor:
    """[..., 4], left, top, right and bottom of each mask [..., h, w], in pixels; right and bottom are outside."""
    found = []
    for line in (masks.any(-2), masks.any(-1)):
        first, last = line.int().argmax(-1), line.shape[-1] - line.flip(-1).int().argmax(-1)
        found.append(torch.stack([first, last * line.any(-1)], -1))
    return torch.stack([found[0][..., 0], found[1][..., 0], found[0][..., 1], found[1][..., 1]], -1)


@torch.no_grad()
def layers(scenes: list[Scene], size: int = 128, fine: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    """Pictures, and [B, figures, size, size] how much of each pixel is of a head and of a whole figure."""
    most = max([len(scene.figures) for scene in scenes], default=0)
    pictures = paint_places(scenes, size)
    heads, wholes = torch.zeros(2, len(scenes), most, size, size)
    jobs = [(row, place) for row, scene in enumerate(scenes) for place in range(len(scene.figures))]
    # Like beside like: the windows of those painted together are as large as the largest.
    jobs.sort(key=lambda job: bulk(scenes[job[0]].figures[job[1]]))
    sprites = {}
    for start in range(0, len(jobs), AT_ONCE):
        some = jobs[start : start + AT_ONCE]
        for job, sprite in zip(some, paint_figures(scenes, some, size, fine)):
            sprites[job] = sprite
    for row, place in sorted(jobs):
        sprite = sprites[row, place]
        clear = 1 - sprite[3]
        pictures[row] = sprite[:3] + clear * pictures[row]
        heads[row] *= clear
        wholes[row] *= clear
        heads[row, place], wholes[row, place] = sprite[4], sprite[3]
    return pictures.clamp(0, 1), heads, wholes


def bulk(figure: Figure) -> tuple:
    """By which figures are sorted."""
    kind = isinstance(figure.who, Person) and figure.who.word("hair_style") in (*COVERING, "afro")
    return isinstance(figure.who, Cat), round(12 * figure.size), kind, figure.size


def paint_figures(scenes: list[Scene], jobs: list[tuple[int, int]], size: int, fine: int) -> Tensor:
    """[F, 5, size, size], see Canvas."""
    figures = [scenes[row].figures[place] for row, place in jobs]
    x, y, scale = (torch.tensor([getattr(figure, name) for figure in figures]) for name in ("x", "y", "size"))
    canvas = Canvas.blank(len(figures), 5, fine * size, x, y, scale)
    light = torch.tensor([TOWARDS[scenes[row].light] for row, _ in jobs])
    for kind, sitter, draw in ((Person, PersonSitter, draw_person), (Cat, CatSitter, draw_cat)):
        rows = torch.tensor([isinstance(figure.who, kind) for figure in figures])
        some = [figure for figure in figures if isinstance(figure.who, kind)]
        if some:
            who = sitter([figure.who for figure in some], [figure.look for figure in some], light[rows])
            part = canvas.rows(rows)
            draw(part, who)
            canvas.paint[rows] = part.paint
    for i, (row, _) in enumerate(jobs):
        shine(canvas.paint[i], scenes[row], float(scale[i]) * fine * size / 2)
    return F.avg_pool2d(canvas.paint, fine) if fine > 1 else canvas.paint


def shine(paint: Tensor, scene: Scene, unit: float) -> None:
    """Light a figure, [5, h, w], where it is turned to the light: a rim, and a soft shade on the other side."""
    towards = torch.tensor(TOWARDS[scene.light])
    light, rim, dark, shade = HOURS[scene.time]
    cover = paint[3]
    paint[:3] *= torch.tensor(DIM[scene.time])[:, None, None]

    def uncovered(by: float) -> Tensor:
        dx, dy = (towards * by * unit).round().long().tolist()
        return 1 - torch.roll(cover, (dy, dx), (0, 1))

    paint[:3] += cover * uncovered(-0.05) * (0.8 * rim) * (rgb(light)[:, None, None] * cover - paint[:3])
    # The shade is soft: it is found on a coarse grid.
    far = F.avg_pool2d(uncovered(0.14)[None, None], 8)
    far = F.interpolate(F.avg_pool2d(far, 3, 1, 1, count_include_pad=False), scale_factor=8, mode="bilinear")[0, 0]
    paint[:3] *= 1 - far * (1.6 * shade) * (1 - rgb(dark)[:, None, None])


def paint_places(scenes: list[Scene], size: int) -> Tensor:
    """[B, 3, size, size]; what is behind a near figure is out of focus."""
    pictures = torch.zeros(len(scenes), 3, size, size)
    for place, draw in PLACES_DRAWN.items():
        rows = [row for row, scene in enumerate(scenes) if scene.place == place]
        for start in range(0, len(rows), 2 * AT_ONCE):
            some = rows[start : start + 2 * AT_ONCE]
            hours = torch.tensor([TIMES.index(scenes[row].time) for row in some])
            canvas = Canvas.blank(len(some), 3, size)
            draw(canvas, Place(hours, torch.tensor([scenes[row].variant for row in some])))
            for picture, row in zip(canvas.paint, some):
                blur = BLUR[scenes[row].shot] * size / 128
                pictures[row] = gaussian_blur(picture, blur) if blur else picture
    return pictures


def gaussian_blur(picture: Tensor, sigma: float) -> Tensor:
    """[3, h, w]."""
    reach = int(2.5 * sigma) + 1
    kernel = torch.exp(-((torch.arange(-reach, reach + 1) / sigma) ** 2) / 2)
    kernel = kernel / kernel.sum()
    picture = F.pad(picture[:, None], (reach, reach, reach, reach), mode="replicate")
    return F.conv2d(F.conv2d(picture, kernel[None, None, None]), kernel[None, None, :, None])[:, 0]


PLACES_DRAWN = {
    "room": draw_room, "library": draw_library, "kitchen": draw_kitchen, "stage": draw_stage, "garden": draw_garden,
    "street": draw_street, "beach": draw_beach, "forest": draw_forest, "mountains": draw_mountains,
    "night sky": draw_night_sky,
}  # fmt: skip
BLUR = {"close": 1.3, "bust": 0.7, "small": 0.0}  # standard deviation, in pixels of 128
