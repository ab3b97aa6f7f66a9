"""The text encoder learns to read captions before the painter learns to paint, as CLIP could before SD was trained.

From the contexts alone, through a small attention such as a UNet's, it must tell what the picture will show: which
colour is the hat's and which the background's, and who bears a name. That takes a minute; learned only through
the pictures it takes hours.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from einops import einsum
from torch import Tensor, nn
from tqdm import tqdm

from .world import CHOICES, TRAITS, Scene

IDENTITY = 20.0  # weight of the traits' squared error (0..1 each) beside the attributes' cross-entropies


class Reader(nn.Module):
    """Contexts [B, L, D] to what is to be seen: a query for each attribute and trait looks for its word."""

    def __init__(self, width: int):
        super().__init__()
        self.outputs = [len(values) for values in CHOICES.values()] + [1] * len(TRAITS)
        self.queries = nn.Parameter(torch.randn(len(self.outputs), width))
        self.keys = nn.Linear(width, width, bias=False)
        self.values = nn.Linear(width, width)
        self.heads = nn.ModuleList(nn.Linear(width, count) for count in self.outputs)

    def forward(self, context: Tensor) -> list[Tensor]:
        scores = einsum(self.queries, self.keys(context), "q d, b l d -> b q l") * context.shape[-1] ** -0.5
        found = F.silu(scores.softmax(-1) @ self.values(context))
        return [head(found[:, index]) for index, head in enumerate(self.heads)]


def misread(answers: list[Tensor], scene: Scene) -> Tensor:
    """How wrong: what a caption leaves out cannot be known, so this does not fall to 0."""
    traits = torch.cat(answers[len(CHOICES) :], 1)
    true = (getattr(scene, kind).to(traits.device) for kind in CHOICES)
    attributes = sum(F.cross_entropy(logits, value) for logits, value in zip(answers, true))
    return attributes + IDENTITY * F.mse_loss(traits, scene.identity.to(traits.device))


def learn_to_read(
    encode: Callable[[list[str]], Tensor],
    weights: list[Tensor],
    draw: Callable[[int], tuple[Scene, list[str]]],
    steps: int,
    after: Callable[[], None],
) -> None:
    """Train the text encoder's `weights`. encode: captions to contexts. draw: step to scenes and their captions.

    after: is called after every step.
    """
    torch.manual_seed(0)
    reader = Reader(encode([""]).shape[-1]).to(weights[0].device)
    optimizer = torch.optim.AdamW([*weights, *reader.parameters()], lr=1e-3, betas=(0.9, 0.99), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, steps, pct_start=0.1)
    bar = tqdm(range(steps), desc="reading", mininterval=5)
    for step in bar:
        scene, texts = draw(step)
        loss = misread(reader(encode(texts)), scene)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        schedule.step()
        after()
        bar.set_postfix(loss=f"{loss.item():.3f}", refresh=False)
