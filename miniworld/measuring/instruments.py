"""The measuring instruments: where faces are, who they are and what is to be seen. They have seen drawings only.

    instruments, figures = load()
    found = instruments.detect(pictures)  # a list of Found for each picture
    who = instruments.identify(pictures, rows, boxes)  # [N, 128], to be compared by their cosine
    seen = instruments.read(pictures, rows, boxes)  # [{"hat": "cap", "place": "beach", ...}]

Three small eyes: one looks at heads, one at whole figures, one at whole pictures. Shapes: see crops.py.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from ..packing import pack, unpack
from .crops import FACE, FIGURE, SCENE, face_crops, figure_crops, scene_crops

FILE = Path(__file__).resolve().parents[1] / "weights/instruments.safetensors"
GRID, SIZE = 16, 128  # cells in a picture's side, and pixels
CELL = SIZE / GRID
SLIM = (32, 48, 64, 96)  # widths of the eyes with the easier tasks
SURE = 0.4  # from which score on something counts as a face


class Block(nn.Module):
    """Two convolutions beside the way through."""

    def __init__(self, width: int):
        super().__init__()
        self.norm1, self.norm2 = nn.GroupNorm(8, width), nn.GroupNorm(8, width)
        self.conv1, self.conv2 = (nn.Conv2d(width, width, 3, padding=1) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(F.silu(self.norm2(self.conv1(F.silu(self.norm1(x))))))


class Trunk(nn.Module):
    """Crops to features of 32, 16, 8 and 4 pixels, as wide as `widths`."""

    def __init__(self, *widths: int):
        super().__init__()
        ways = [nn.Conv2d(3, widths[0], 5, 2, 2), *(nn.Conv2d(a, b, 3, 2, 1) for a, b in zip(widths, widths[1:]))]
        self.ways = nn.ModuleList(ways)
        self.blocks = nn.ModuleList(Block(width) for width in widths)

    def forward(self, crops: Tensor) -> list[Tensor]:
        x, found = crops * 2 - 1, []
        for way, block in zip(self.ways, self.blocks):
            x = block(way(x))
            found.append(x)
        return found


class Eye(nn.Module):
    """A trunk and what is read from it: {name: logits}."""

    def __init__(self, choices: dict[str, Sequence[str]], *widths: int, narrow: int = 48, inside: int = 192):
        super().__init__()
        self.trunk = Trunk(*widths)
        self.narrow = nn.Conv2d(widths[-1], narrow, 1)
        self.norm = nn.GroupNorm(8, narrow)
        self.inside = nn.Linear(narrow * 16, inside)
        self.what = nn.ModuleDict({name: nn.Linear(inside, len(words)) for name, words in choices.items()})

    def look(self, crops: Tensor) -> tuple[Tensor, list[Tensor]]:
        features = self.trunk(crops)
        x = F.silu(self.norm(self.narrow(F.silu(features[-1]))))
        return F.silu(self.inside(x.flatten(1))), features

    def read(self, x: Tensor) -> dict[str, Tensor]:
        return {name: head(x).float() for name, head in self.what.items()}


class FaceEye(Eye):
    """Also who it is [N, 128], of length 1, and a person's 60 numbers."""

    def __init__(self):
        super().__init__(FACE, 32, 64, 128, 192, narrow=96, inside=256)
        self.who, self.traits = nn.Linear(256, 128), nn.Linear(256, 60)

    def forward(self, crops: Tensor) -> tuple[Tensor, dict[str, Tensor], Tensor]:
        x, _ = self.look(crops)
        return F.normalize(self.who(x).float(), dim=-1), self.read(x), self.traits(x).float()


class FigureEye(Eye):
    def __init__(self):
        super().__init__(FIGURE, *SLIM)

    def forward(self, crops: Tensor) -> dict[str, Tensor]:
        return self.read(self.look(crops)[0])


class SceneEye(Eye):
    """Also, for each of GRID x GRID cells, 7 numbers: whether a head's middle is there, the distances from the cell's
    middle to the box's four sides (logarithms, of cells), and whether it is a person's or a cat's."""

    def __init__(self):
        super().__init__(SCENE, *SLIM)
        self.near = nn.ModuleList(nn.Conv2d(width, 64, 1) for width in SLIM[1:])
        self.block, self.out = Block(64), nn.Conv2d(64, 7, 3, padding=1)
        nn.init.constant_(self.out.bias[:1], -3.0)  # heads are rare

    def forward(self, crops: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        x, features = self.look(crops)
        parts = [way(f) for way, f in zip(self.near, features[1:])]
        cells = sum(F.interpolate(part, size=GRID, mode="bilinear") for part in parts)
        return self.read(x), self.out(F.silu(self.block(cells))).float()


def middles(device: torch.device | None = None) -> Tensor:
    """[2, GRID, GRID], x and y of the cells' middles in pixels."""
    line = (torch.arange(GRID, device=device) + 0.5) * CELL
    return torch.stack(torch.meshgrid(line, line, indexing="xy"))


def boxes_of(cells: Tensor) -> Tensor:
    """[B, 4, GRID, GRID] of what SceneEye says [B, 7, GRID, GRID]."""
    far = cells[:, 1:5].clamp(-4, 4).exp() * CELL
    return middles(cells.device).repeat(2, 1, 1) + far.new_tensor([-1.0, -1.0, 1.0, 1.0])[:, None, None] * far


@dataclass(frozen=True)
class Found:
    box: tuple[float, float, float, float]
    kind: str  # "person" or "cat"
    score: float


class Instruments(nn.Module):
    def __init__(self):
        super().__init__()
        self.face, self.figure, self.scene = FaceEye(), FigureEye(), SceneEye()

    @torch.no_grad()
    def detect(self, pictures: Tensor, sure: float = SURE) -> list[list[Found]]:
        """Heads, the surest first; none within another's neighbourhood."""
        cells = self.scene(scene_crops(pictures))[1]
        score, boxes, kinds = cells[:, 0].sigmoid(), boxes_of(cells), cells[:, 5:].argmax(1)
        peaks = (score == F.max_pool2d(score, 5, 1, 2)) & (score >= sure)
        found: list[list[Found]] = [[] for _ in pictures]
        for i, v, u in peaks.nonzero().tolist():
            box = tuple(boxes[i, :, v, u].clamp(0, SIZE).tolist())
            found[i].append(Found(box, ("person", "cat")[int(kinds[i, v, u])], score[i, v, u].item()))
        return [sorted(some, key=lambda one: -one.score) for some in found]

    @torch.no_grad()
    def identify(self, pictures: Tensor, rows: Tensor, boxes: Tensor) -> Tensor:
        return self.face(face_crops(pictures, rows, boxes))[0]

    @torch.no_grad()
    def logits(self, pictures: Tensor, rows: Tensor, boxes: Tensor) -> dict[str, Tensor]:
        """Of all attributes, each [N, choices]."""
        scene = self.scene(scene_crops(pictures))[0]
        found = self.face(face_crops(pictures, rows, boxes))[1] | self.figure(figure_crops(pictures, rows, boxes))
        return found | {name: logits[rows] for name, logits in scene.items()}

    def read(self, pictures: Tensor, rows: Tensor, boxes: Tensor) -> list[dict[str, str]]:
        """What each head's picture shows, whether it can be seen or not."""
        words = FACE | FIGURE | SCENE
        best = {name: logits.argmax(-1).tolist() for name, logits in self.logits(pictures, rows, boxes).items()}
        return [{name: words[name][best[name][i]] for name in best} for i in range(len(boxes))]


def save(instruments: Instruments, path: Path, figures: dict) -> None:
    save_file(pack(instruments.state_dict()), path, {"figures": json.dumps(figures)})


def load(path: Path = FILE) -> tuple[Instruments, dict]:
    """The instruments and the figures of their examination."""
    instruments = Instruments()
    with safe_open(path, framework="pt") as file:
        instruments.load_state_dict(unpack({name: file.get_tensor(name) for name in file.keys()}))  # noqa: SIM118
        return instruments.eval().requires_grad_(False), json.loads(file.metadata()["figures"])
