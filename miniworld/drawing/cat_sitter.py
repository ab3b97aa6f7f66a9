"""The numbers of several cats with their looks, and the colours and measures that follow."""

import torch

from .canvas import mix, rgb
from .identity import CAT_EYES, COATS
from .sitter import Sitter

CREAM = torch.tensor([0.98, 0.95, 0.9])


class CatSitter(Sitter):
    def colours(self) -> None:
        coats, eyes = rgb(*COATS.values()), rgb(*CAT_EYES.values())
        self.fur = (coats[self.coat.flatten().long()] * mix(0.88, 1.1, self.shade[:, 0])).clamp(0, 1)
        self.other = coats[self.second.flatten().long()]
        self.fur_dark = self.fur * torch.tensor([0.7, 0.62, 0.66]) + torch.tensor([0.01, 0.0, 0.03])
        self.fur_light = mix(self.fur, CREAM, 0.4)
        self.mark = mix(self.fur * 0.62, self.fur * 0.36, self.contrast[:, 0])
        black = self.coat[:, 0] == 2  # its marks are lighter than the fur
        self.mark = torch.where(black, mix(self.fur, CREAM, mix(0.18, 0.4, self.contrast[:, 0])), self.mark)
        kind = self.eye_colour.flatten().long()
        self.left_eye, self.right_eye = (
            torch.where(self.odd_eye[:, 0] == side, eyes[(kind + 2) % 4], eyes[kind]) for side in (1, 2)
        )
        self.pink = torch.tensor([0.93, 0.66, 0.64]).expand_as(self.fur)
        self.nose = rgb("#e68f92", "#9a5a4a", "#3f3038")[self.nose_colour.flatten().long()]

    def measures(self) -> None:
        self.width, self.height = mix(0.84, 1.0, self.face_width), mix(0.7, 0.8, self.face_height)
        self.eye_x, self.eye_v = mix(0.35, 0.47, self.eye_spacing), torch.full_like(self.width, -0.02)
        self.rise, self.side = torch.full_like(self.width, -0.05), torch.full_like(self.width, -0.25)
