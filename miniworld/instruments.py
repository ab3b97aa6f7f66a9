"""The measuring instruments: who is in a picture, and what the picture shows. They have seen drawings only.

    python -m tests.miniworld.instruments FILE [--steps 2000]

One eye with three heads: an identity vector, to be compared by its cosine, a reading of every attribute, and where
the face is.
Shapes: B pictures [B, 3, 32, 32] in 0..1, E = 64.
"""

import argparse
import json
from pathlib import Path

import torch
import torch.nn.functional as F
from einops import rearrange, reduce
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from .world import CHOICES, people, render, scenes, seed_of

SHARPNESS = 12.0  # of the contrast between people: one over its temperature
STRANGERS = 99  # the seed of the people whom only the examination shows
POSERS = 98  # and of those by whom places are learned


class Eye(nn.Module):
    """Pictures to identity vectors [B, E] of length 1, logits {attribute: [B, choices]} and places [B, 2]."""

    def __init__(self, width: int = 32, size: int = 64):
        super().__init__()
        widths = (3, width, 2 * width, 4 * width, 4 * width)
        self.layers = nn.ModuleList(
            nn.Conv2d(a, b, 3, stride=1 if a == 3 else 2, padding=1) for a, b in zip(widths, widths[1:])
        )
        self.norms = nn.ModuleList(nn.GroupNorm(8, b) for b in widths[1:])
        self.inside = nn.Linear(4 * width * 16, 256)
        self.who = nn.Linear(256, size)
        self.what = nn.ModuleDict({kind: nn.Linear(256, len(values)) for kind, values in CHOICES.items()})
        self.where = nn.Linear(256, 2)

    def forward(self, pictures: Tensor) -> tuple[Tensor, dict[str, Tensor], Tensor]:
        x = self.features(pictures)
        return F.normalize(self.who(x), dim=-1), {kind: head(x) for kind, head in self.what.items()}, self.where(x)

    def features(self, pictures: Tensor) -> Tensor:
        x = pictures * 2 - 1
        for layer, norm in zip(self.layers, self.norms):
            x = F.silu(norm(layer(x)))
        return F.silu(self.inside(rearrange(x, "b c h w -> b (c h w)")))


def worn(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """Drawings as a painter may leave them: some a little blurred, some a little noisy."""
    blurred = F.avg_pool2d(F.pad(pictures, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    blur, noise = (torch.rand(len(pictures), 1, 1, 1, generator=generator) for _ in range(2))
    pictures = torch.lerp(pictures, blurred, 0.8 * blur * (blur > 0.6))
    return (pictures + 0.06 * noise * torch.randn(pictures.shape, generator=generator)).clamp(0, 1)


def contrast(one: Tensor, other: Tensor) -> Tensor:
    """Each person [B, E] must find themselves [B, E] among all others, both ways (InfoNCE)."""
    scores, right = SHARPNESS * one @ other.T, torch.arange(len(one))
    return (F.cross_entropy(scores, right) + F.cross_entropy(scores.T, right)) / 2


def train(steps: int, count: int, seed: int = 0) -> Eye:
    """Learn from pairs of drawings of the same person in other clothes; `count` people a step."""
    torch.manual_seed(seed)
    eye = Eye()
    optimizer = torch.optim.AdamW(eye.parameters(), lr=1e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, steps, pct_start=0.1)
    for step in range(steps):
        generator = torch.Generator().manual_seed(seed_of("drawings", seed, step))
        scene = scenes(people(count, seed_of("drawn people", seed, step)).repeat(2, 1), generator)
        who, what, _ = eye(worn(render(scene)[0], generator))
        loss = contrast(*who.chunk(2))
        loss = loss + sum(F.cross_entropy(logits, getattr(scene, kind)) for kind, logits in what.items())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if (step + 1) % 50 == 0:
            print(f"step {step + 1}/{steps}  loss {loss.item():.4f}", flush=True)
    learn_where(eye)
    return eye.eval()


@torch.no_grad()
def learn_where(eye: Eye, count: int = 4000) -> None:
    """The place needs no training: it is read from what the other two heads look at, by least squares."""
    scene = scenes(people(count, POSERS), torch.Generator().manual_seed(POSERS))
    features = torch.cat([eye.features(render(scene)[0]), torch.ones(count, 1)], 1)
    squares = features.T @ features + torch.eye(features.shape[1])
    fitted = torch.linalg.solve(squares, features.T @ scene.pose[:, :2])
    eye.where.weight.copy_(fitted[:-1].T), eye.where.bias.copy_(fitted[-1])


@torch.no_grad()
def identity(eye: Eye, pictures: Tensor) -> Tensor:
    return eye(pictures)[0]


@torch.no_grad()
def read(eye: Eye, pictures: Tensor) -> list[dict[str, str]]:
    """What each picture shows: {"background": "red", "hat": "none", ...}."""
    best = {kind: logits.argmax(-1) for kind, logits in eye(pictures)[1].items()}
    return [{kind: list(CHOICES[kind])[int(row)] for kind, row in zip(best, rows)} for rows in zip(*best.values())]


@torch.no_grad()
def place(eye: Eye, pictures: Tensor) -> Tensor:
    """Where the middle of the face is: x and y [B, 2] in -1..1, as in Scene.pose."""
    return eye(pictures)[2]


@torch.no_grad()
def examine(eye: Eye, count: int = 1000) -> dict[str, float]:
    """How good the instruments are on drawings of strangers: see the keys."""
    scene = scenes(people(count, STRANGERS).repeat(2, 1), torch.Generator().manual_seed(STRANGERS))
    who, what, where = eye(render(scene)[0])
    scores = who[:count] @ who[count:].T
    same, other = scores.diagonal(), scores[~torch.eye(count, dtype=torch.bool)]
    levels = torch.linspace(-1, 1, 2001)
    missed = reduce((same[:, None] < levels).float(), "pair level -> level", "mean")
    taken = 1 - torch.searchsorted(other.sort().values, levels).float() / len(other)
    figures = {
        "same_mean": same.mean(), "same_std": same.std(), "other_mean": other.mean(), "other_std": other.std(),
        "equal_error_rate": torch.maximum(missed, taken).min(),
    }  # fmt: skip
    figures |= {kind: (logits.argmax(-1) == getattr(scene, kind)).float().mean() for kind, logits in what.items()}
    figures["place_error"] = (where - scene.pose[:, :2]).abs().mean()
    return {key: round(float(value), 4) for key, value in figures.items()}


def likeness(one: Tensor, other: Tensor, figures: dict[str, float]) -> Tensor:
    """Cosines of identity vectors [..., E] on a scale where 0 is a stranger and 1 the same person drawn again."""
    return ((one * other).sum(-1) - figures["other_mean"]) / (figures["same_mean"] - figures["other_mean"])


def save(eye: Eye, figures: dict[str, float], path: Path) -> None:
    tensors = {key: value.half().contiguous() for key, value in eye.state_dict().items()}
    save_file(tensors, path, {"figures": json.dumps(figures)})


def load(path: Path) -> tuple[Eye, dict[str, float]]:
    """The eye, and the figures of its examination."""
    eye = Eye()
    with safe_open(path, framework="pt") as file:
        eye.load_state_dict({key: file.get_tensor(key).float() for key in file.keys()})  # noqa: SIM118
        return eye.eval().requires_grad_(False), json.loads(file.metadata()["figures"])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--people", type=int, default=48, help="in each step")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    learned = train(args.steps, args.people)
    # Rounded to half precision before it is examined: the figures are of what is in the file.
    save(learned, {}, args.file)
    figures = examine(load(args.file)[0])
    save(learned, figures, args.file)
    print(json.dumps(figures, indent=2))
