"""Where each word of a prompt looks from noise to picture, as the papers print it (PersonaMagic, Figures 1, 2 and 6).

Shapes: T timesteps, falling from noise to picture; maps [T, h, w] at the latents' size.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from .charts import INK, MARGIN, PAPER, SHADE, Chart
from .pixels import from_pil, to_pil
from .stages import LAST_TIMESTEP, Stages, attention_iou

ROWS = 24  # words of a longer prompt are left out
# Pixels: a tile's longer side, the least cell, what is around it, what is above all of them; the words' column from and
# to, the whole's least width, the curves' height.
TILE, LEAST, GAP, HEADER, LABELS, WIDTH, CURVES = 96, (48, 44), 2, 138, (MARGIN[0], 220), 720, 384
HEAT = (0, 0, 4), (87, 16, 110), (188, 55, 84), (249, 142, 9), (252, 255, 164)  # matplotlib's inferno
OUTLINE, PALE = (0, 220, 255), (205, 205, 205)
COLORS = (
    (214, 39, 40), (31, 119, 180), (44, 160, 44), (148, 103, 189), (255, 127, 14), (23, 190, 207), (140, 86, 75),
    (227, 119, 194), (150, 150, 0), (0, 0, 128), (90, 90, 90), (0, 110, 90),
)  # fmt: skip
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
Color = tuple[int, int, int]


@dataclass(frozen=True)
class WordAttention:
    """Where words look at some timesteps. maps: {word: [T, h, w]}. stages: of the words that are personas. mask: where
    the persona is in the picture, [h, w] in 0..1, or None."""

    timesteps: Sequence[float]
    maps: Mapping[str, Tensor]
    stages: Mapping[str, Stages]
    mask: Tensor | None = None

    @cached_property
    def iou(self) -> dict[str, Tensor]:
        """How well each word covers the mask [T]; without one, nothing."""
        return {} if self.mask is None else {word: attention_iou(maps, self.mask) for word, maps in self.maps.items()}

    def best(self, word: str) -> tuple[float, float]:
        """The timestep at which a word covers the mask best, and the IoU there."""
        return self.timesteps[int(self.iou[word].argmax())], float(self.iou[word].max())

    @property
    def ranked(self) -> list[str]:
        """First the personas, then the words that cover the mask best."""
        return sorted(self.iou, key=lambda word: (word not in self.stages, -self.best(word)[1]))

    def shortened(self, count: int) -> "WordAttention":
        """With all personas, and of the other words the first, so that they are `count` together."""
        others = [word for word in self.maps if word not in self.stages][: max(count - len(self.stages), 0)]
        maps = {word: maps for word, maps in self.maps.items() if word in self.stages or word in others}
        return WordAttention(self.timesteps, maps, self.stages, self.mask)


def attention_figure(picture: Tensor, whole: WordAttention) -> Tensor:
    """[1, H, W, 3]: a row a word, a column a timestep; with a mask, beneath it the curves of the IoU with it.

    picture: [H, W, 3] in 0..1. The maps of a column share one scale, so that a word which is drowned looks dark.
    """
    shown = whole.shortened(ROWS)
    colors = dict(zip(shown.ranked, [*COLORS, *[PALE] * ROWS]))
    title = "Where each word looks, from noise to picture"
    if len(shown.maps) < len(whole.maps):
        title += f" ({len(shown.maps)} of {len(whole.maps)} words)"
    brightest = [
        max(float(maps[column].max()) for maps in whole.maps.values()) for column in range(len(whole.timesteps))
    ]
    grid = map_rows(picture, title, shown, brightest, colors)
    if not colors:
        return from_pil(grid)[None]
    curves = iou_curves(shown, colors, grid.width)
    both = Image.new("RGB", (grid.width, grid.height + curves.height), PAPER)
    both.paste(grid)
    both.paste(curves, (0, grid.height))
    return from_pil(both)[None]


def map_rows(
    picture: Tensor, title: str, shown: WordAttention, brightest: Sequence[float], colors: Mapping[str, Color]
) -> Image.Image:
    """The grid, with the picture, and what its columns and rows are."""
    painted = to_pil(picture)
    scale = TILE / max(painted.size)
    painted = painted.resize([max(1, round(scale * side)) for side in painted.size], Image.Resampling.LANCZOS)
    edge = None if shown.mask is None else outline(shown.mask, painted.size)
    large, small = ImageFont.load_default(16), ImageFont.load_default(13)
    left = round(min(max(LABELS[0], *(large.getlength(word) + 32 for word in shown.maps)), LABELS[1]))
    cell = [max(side, least) + GAP for side, least in zip(painted.size, LEAST)]
    size = max(left + cell[0] * len(shown.timesteps) + 12, WIDTH), HEADER + cell[1] * len(shown.maps) + 8
    grid = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(grid)
    draw.text((left, 10), title, INK, large)
    for line, said in enumerate(legend(shown)):
        draw.text((left, 36 + 18 * line), fitting(said, small, size[0] - left - 12), INK, small)
    for column, t in enumerate(shown.timesteps):
        x = left + column * cell[0]
        if any(one.t_lo <= t <= one.t_hi for one in shown.stages.values()):
            draw.rectangle([x, HEADER - 22, x + cell[0] - 1, HEADER - 1], SHADE)
        draw.text((x + cell[0] // 2, HEADER - 4), f"t {t:.0f}", INK, small, anchor="ms")
    for row, (word, maps) in enumerate(shown.maps.items()):
        y = HEADER + row * cell[1]
        draw.text((26, y + 4), fitting(word, large, left - 32), INK, large)
        if word in colors:
            t, value = shown.best(word)
            draw.rectangle([8, y + 4, 18, y + 21], colors[word])
            draw.text((26, y + 24), f"IoU {value:.2f}, t {t:.0f}", INK, small)
        for column, most in enumerate(brightest):
            x = left + column * cell[0] + (cell[0] - painted.width) // 2
            grid.paste(outlined(heat(maps[column] / most, painted.size), edge), (x, y))
    grid.paste(outlined(painted, edge), (8, 10))
    return grid


def legend(shown: WordAttention) -> list[str]:
    said = ["Words of a column share one scale: a word that is drowned stays dark."]
    if shown.mask is not None:
        said.append("Light blue: the mask.")
    if shown.stages:
        spans = {word.split()[0]: f"t {one.t_lo} to {one.t_hi}" for word, one in shown.stages.items()}  # also <ann> (2)
        said.append("Shaded: the dynamic stage of " + ", ".join(f"{word}, {span}" for word, span in spans.items()))
    return said


def heat(values: Tensor, size: tuple[int, int]) -> Image.Image:
    """A map [h, w] in 0..1 in colours, at that size (width, height)."""
    light = Image.fromarray((values * 255).byte().numpy()).resize(size, Image.Resampling.BICUBIC)
    levels, steps = np.asarray(light) / 255, np.linspace(0, 1, len(HEAT))
    return Image.fromarray(np.stack([np.interp(levels, steps, one) for one in zip(*HEAT)], -1).astype(np.uint8))


def outline(mask: Tensor, size: tuple[int, int]) -> Image.Image:
    """White where the edge of a mask [h, w], cut at 0.5, lies in a picture of that size (width, height)."""
    inside = (F.interpolate(mask[None, None].float(), size[::-1], mode="bilinear") > 0.5).float()
    edge = inside + F.max_pool2d(1 - inside, 3, 1, 1) > 1
    return Image.fromarray((edge[0, 0] * 255).byte().numpy())


def outlined(picture: Image.Image, edge: Image.Image | None) -> Image.Image:
    if edge is not None:
        picture.paste(OUTLINE, mask=edge)
    return picture


def fitting(text: str, font: Font, width: float) -> str:
    """A text that is too long for the width, shortened."""
    if font.getlength(text) <= width:
        return text
    while font.getlength(text + "...") > width:
        text = text[:-1]
    return text + "..."


def iou_curves(shown: WordAttention, colors: Mapping[str, Color], width: int) -> Image.Image:
    """IoU of each word with the mask; the personas' are thick, and lie above the others."""
    title, x_label = "How well each word covers the mask (IoU)", f"timestep t ({LAST_TIMESTEP} = most noise)"
    most = math.ceil(5 * max(float(values.max()) for values in shown.iou.values())) / 5
    chart = Chart(title, x_label, (LAST_TIMESTEP, 0), (0, most or 0.2), (width, CURVES))
    for one in shown.stages.values():
        chart.shade(one.t_hi, one.t_lo)
    chart.axes()
    for word in reversed(shown.ranked):
        chart.curve(shown.timesteps, shown.iou[word].tolist(), colors[word], 5 if word in shown.stages else 2)
    return chart.image
