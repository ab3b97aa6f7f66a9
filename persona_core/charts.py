"""Pictures of what happened: loss curves, the IoU curve with its stage, attention maps. All [1, H, W, 3] in 0..1."""

from collections.abc import Mapping, Sequence
from itertools import cycle

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from .pixels import from_pil, to_pil
from .stages import LAST_TIMESTEP, Stages

SIZE, MARGIN = (768, 384), (118, 48, 28, 60)  # left, top, right, bottom
PAPER, INK, LINES, SHADE = (255, 255, 255), (40, 40, 40), (225, 225, 225), (225, 238, 252)
COLORS = ((31, 119, 180), (214, 39, 40), (44, 160, 44), (148, 103, 189))


class Chart:
    """Axes with a range, on which curves are drawn."""

    def __init__(
        self,
        title: str,
        x_label: str,
        x_range: tuple[float, float],
        y_range: tuple[float, float],
        size: tuple[int, int] = SIZE,
    ):
        self.size, self.image = size, Image.new("RGB", size, PAPER)
        self.draw = ImageDraw.Draw(self.image)
        self.font = ImageFont.load_default(20)
        self.x_range, self.y_range = x_range, widened(y_range)
        self.draw.text((12, 10), title, INK, self.font)
        self.draw.text((size[0] // 2, size[1] - 6), x_label, INK, self.font, anchor="ms")

    def point(self, x: float, y: float) -> tuple[float, float]:
        left, top, right, bottom = MARGIN
        (x0, x1), (y0, y1) = self.x_range, self.y_range
        return (
            left + (x - x0) / ((x1 - x0) or 1) * (self.size[0] - left - right),
            self.size[1] - bottom - (y - y0) / (y1 - y0) * (self.size[1] - top - bottom),
        )

    def shade(self, first: float, last: float) -> None:
        """Fill the band between two x."""
        self.draw.rectangle([self.point(first, self.y_range[1]), self.point(last, self.y_range[0])], fill=SHADE)

    def axes(self, ticks: int = 5) -> None:
        for share in np.linspace(0, 1, ticks):
            x = self.x_range[0] + share * (self.x_range[1] - self.x_range[0])
            y = self.y_range[0] + share * (self.y_range[1] - self.y_range[0])
            self.draw.line([self.point(x, self.y_range[0]), self.point(x, self.y_range[1])], LINES)
            self.draw.line([self.point(self.x_range[0], y), self.point(self.x_range[1], y)], LINES)
            across, down = self.point(x, self.y_range[0])
            self.draw.text((across, down + 6), f"{x:.0f}", INK, self.font, anchor="ma")
            self.draw.text((MARGIN[0] - 6, self.point(0, y)[1]), f"{y:.3g}", INK, self.font, anchor="rm")

    def curve(self, xs: Sequence[float], ys: Sequence[float], color: tuple[int, int, int], width: int = 2) -> None:
        points = [self.point(x, y) for x, y in zip(xs, ys)]
        if len(points) == 1:
            (x, y) = points[0]
            self.draw.ellipse([x - 3, y - 3, x + 3, y + 3], fill=color)
        else:
            self.draw.line(points, color, width)

    def tensor(self) -> Tensor:
        return from_pil(self.image)[None]


def loss_chart(losses: Mapping[str, Sequence[float]], steps: int) -> Tensor:
    """One panel a loss term, stacked: [1, H, W, 3]. losses: values spread evenly over `steps` steps."""
    panels = [
        loss_panel(name, values, steps, max(steps, 2), color).tensor()
        for color, (name, values) in zip(cycle(COLORS), losses.items())
    ]
    return torch.cat(panels, dim=1) if panels else from_pil(Image.new("RGB", SIZE, PAPER))[None]


def loss_panel(
    name: str,
    values: Sequence[float],
    steps: int,
    last: int,
    color: tuple[int, int, int] = COLORS[0],
    size: tuple[int, int] = SIZE,
    smooth: int = 25,
) -> Chart:
    """The thin line is each value, the thick one their moving mean. last: the step at the right edge."""
    at = np.linspace(1, steps, len(values)).tolist()
    means = [float(np.mean(values[max(0, i - smooth + 1) : i + 1])) for i in range(len(values))]
    title = f"{name} loss, last mean {means[-1]:.4g}"
    chart = Chart(title, "step", (1, last), (min(values), max(values)), size)
    pale = 128 + color[0] // 2, 128 + color[1] // 2, 128 + color[2] // 2
    chart.axes(3 if size[0] < SIZE[0] else 5)
    chart.curve(at, values, pale, 1)
    chart.curve(at, means, color, 3)
    return chart


def forming(picture: Tensor, name: str, values: Sequence[float], planned: int) -> Image.Image:
    """What a persona looks like so far [H, W, 3], over the curve of a loss so far, in one picture."""
    painted = to_pil(picture)
    width, height = 512, round(512 * painted.height / painted.width)
    panel = loss_panel(name, values, len(values), planned, size=(width, 256)).image
    whole = Image.new("RGB", (width, height + panel.height), PAPER)
    whole.paste(painted.resize((width, height), Image.Resampling.LANCZOS))
    whole.paste(panel, (0, height))
    return whole


def iou_chart(timesteps: Tensor, iou: Tensor, smoothed: Tensor, stages: Stages, flat: bool) -> Tensor:
    """IoU [T] over timesteps [T], the stage as a band: [1, H, W, 3]."""
    found = "flat, so the default" if flat else "dynamic stage"
    title = f"IoU of attention; {found}: {stages.t_lo} to {stages.t_hi}"
    chart = Chart(
        title, f"timestep t ({LAST_TIMESTEP} = most noise)", (0, LAST_TIMESTEP), (0, max(float(iou.max()), 0.05))
    )
    chart.shade(stages.t_lo, stages.t_hi)
    chart.axes()
    chart.curve(timesteps.tolist(), iou.tolist(), (170, 195, 220), 1)
    chart.curve(timesteps.tolist(), smoothed.tolist(), COLORS[0], 3)
    return chart.tensor()


def map_grid(timesteps: Tensor, maps: Tensor, mask: Tensor, tile: int = 96, columns: int = 10) -> Tensor:
    """Attention maps [T, h, w], each on its own scale and named by its t, the mask first: [1, H, W, 3]."""
    tiles = [tile_of(mask, tile, "mask")] + [tile_of(m, tile, f"t {int(t)}") for t, m in zip(timesteps, maps)]
    rows = -(-len(tiles) // columns)
    sheet = Image.new("RGB", (columns * tile, rows * tile), PAPER)
    for index, picture in enumerate(tiles):
        sheet.paste(picture, (index % columns * tile, index // columns * tile))
    return from_pil(sheet)[None]


def word_grid(picture: Tensor, moments: Sequence[tuple[str, Mapping[str, Tensor]]], tile: int = 160) -> Tensor:
    """Where words look, as light on the picture: [1, H, W, 3]. A row a moment, a column a word, the picture first.

    picture: [H, W, 3] in 0..1. moments: (label, {word: map [h, w]}). The maps of a row share one scale, so that a
    word which is drowned looks dark.
    """
    painted = Image.fromarray((picture.clamp(0, 1) * 255).byte().numpy())
    painted = painted.resize((tile, round(tile * painted.height / painted.width)), Image.Resampling.LANCZOS)
    columns = 1 + max(len(maps) for _, maps in moments)
    font, line = ImageFont.load_default(14), 22
    grid = Image.new("RGB", (columns * tile, len(moments) * (painted.height + line)), PAPER)
    draw = ImageDraw.Draw(grid)
    for row, (label, maps) in enumerate(moments):
        top = row * (painted.height + line)
        grid.paste(painted, (0, top + line))
        draw.text((4, top + 3), label, INK, font)
        brightest = max(float(values.max()) for values in maps.values())
        for column, (word, values) in enumerate(maps.items(), start=1):
            light = Image.fromarray((values / brightest * 255).byte().numpy())
            light = light.resize(painted.size, Image.Resampling.BICUBIC)
            grid.paste(Image.composite(painted, Image.new("RGB", painted.size), light), (column * tile, top + line))
            draw.text((column * tile + 4, top + 3), word, INK, font)
    return from_pil(grid)[None]


def tile_of(values: Tensor, size: int, label: str) -> Image.Image:
    low, high = values.min(), values.max()
    scaled = ((values - low) / (high - low).clamp(min=1e-12) * 255).byte().numpy()
    picture = Image.fromarray(scaled).resize((size - 2, size - 2), Image.Resampling.NEAREST).convert("RGB")
    ImageDraw.Draw(picture).text(
        (3, 1), label, (255, 220, 0), ImageFont.load_default(12), stroke_width=1, stroke_fill=(0, 0, 0)
    )
    return picture


def widened(span: tuple[float, float]) -> tuple[float, float]:
    low, high = span
    return (low, high) if high > low else (low - 0.5, high + 0.5)
