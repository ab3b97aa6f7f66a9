"""PersonaMagic's stage mapper and NeTI's textual bypass (arXiv 2412.15674 section 3.3; arXiv 2305.15391).

Shapes: B rows, N persona tokens, D width of the text encoder (of all, if there are several), M reference pictures, E
image embedding.
"""

import math
from collections.abc import Mapping

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import LayerNorm, Linear

from .representation import Learnable, Saved, TokenVectors, on_sphere, spread, word_shape
from .stage_vectors import StageVectors
from .stages import GRID, Stages

TIME_WIDTH = 2048
ANCHORS = 200
HIDDEN = 128
# Of what a head adds to a token, in spreads of its word. The published mapper turns a token by 2.8 degrees in its first
# step at 1e-4; this one, which starts at the word, does so too, in a text encoder of any width.
OFFSET = 10.0
# And of what the bypass adds to a token behind the text encoder, in spreads of what that makes of the word. Faster, it
# lowers obedience and likeness, in the made-up world: the bypass alone can say all of the photo.
BYPASS = 0.05
STEP = 50.0  # about how far a head's output moves in a step at a learning rate of 1: the sum of what it reads


class StageMapper(Learnable, Saved):
    """t -> N vectors on the sphere of the supercategory's word, and N bypass vectors for V.

    word: [D] or [S, D], the input embedding of the supercategory. stages: the dynamic stage; t outside it is clamped.
    widths: of the text encoders, whose vectors have a sphere each; none: there is one.
    image_embeddings: [M, E] of a CLIP vision model, one a reference picture, or None: then the bypass sees
    the time feature alone. seed: of the initial weights; the global random state is left as it was.
    unit, bypass_unit: [D] or [N, D], of what the head adds to the start, and the bypass to the text encoder's output:
    `learning_units` while learning. None: 1, as files have it.
    start: [N, D], where token vectors are before anything is learned, brought to the sphere. None: the word itself, as
    files have it. The bypass is zero at the start.
    """

    kind = "stage_mapper"
    reach = OFFSET * STEP
    image_embeddings: Tensor | None
    unit: Tensor
    bypass_unit: Tensor
    start: Tensor

    def __init__(
        self,
        word: Tensor,
        stages: Stages,
        tokens: int = 4,
        image_embeddings: Tensor | None = None,
        seed: int = 0,
        widths: tuple[int, ...] = (),
        unit: Tensor | None = None,
        start: Tensor | None = None,
        bypass_unit: Tensor | None = None,
    ):
        super().__init__()
        self.tokens, self.stages, self.widths = tokens, stages, widths or (word.shape[-1],)
        self.register_buffer("word", word.detach().clone().float())
        for name, one in (("unit", unit), ("bypass_unit", bypass_unit)):
            one = torch.ones_like(self.initializers) if one is None else one.detach().clone().float()
            self.register_buffer(name, one, persistent=False)
        word = self.initializers
        start = word.expand(tokens, -1) if start is None else on_sphere(start.detach().float(), word, widths)
        self.register_buffer("start", start.clone(), persistent=False)
        images = None if image_embeddings is None else image_embeddings.detach().clone().float()
        self.register_buffer("image_embeddings", images)
        image_width = 0 if images is None else images.shape[1]
        with torch.random.fork_rng(devices=[], device_type="cpu"):
            torch.default_generator.manual_seed(seed)
            self.anchors = anchored_linear(stages)
            self.time = nn.Sequential(*hidden_layer(ANCHORS), *hidden_layer(HIDDEN))
            self.head = zero_linear(HIDDEN, tokens * word.shape[-1])
            self.bypass = nn.Sequential(*hidden_layer(HIDDEN + image_width), *hidden_layer(HIDDEN))
            self.bypass_head = zero_linear(HIDDEN, tokens * word.shape[-1])

    @classmethod
    def layout(cls, shapes: Mapping[str, tuple[int, ...]], tokens: int, stages: Stages) -> dict[str, tuple[int, ...]]:
        with torch.device("meta"):
            made = cls(torch.empty(word_shape(shapes, tokens)), Stages(), tokens)
        return {name: tuple(value.shape) for name, value in made.state_dict().items()}

    @classmethod
    def from_tensors(
        cls, tensors: Mapping[str, Tensor], stages: Stages, tokens: int, widths: tuple[int, ...]
    ) -> "StageMapper":
        """From the tensors of a file."""
        mapper = cls(tensors["word"], stages, tokens, widths=widths)
        mapper.load_state_dict({name: value.float() for name, value in tensors.items()})
        return mapper

    def facts(self) -> dict[str, object]:
        return {
            "kind": "PersonaMagic's stage mapper",
            "tokens": self.tokens,
            "dynamic stage": f"{self.stages.t_lo} to {self.stages.t_hi}",
        }

    def at(self, t: Tensor, picture: Tensor | None = None) -> TokenVectors:
        """The vectors for timesteps t [B]; `picture` [B] indexes the references (None: their mean)."""
        time = self.time_feature(t)
        offsets = rearrange(self.head(time), "b (n d) -> b n d", n=self.tokens) * self.unit
        vectors = on_sphere(offsets + self.start, self.initializers, self.widths)
        bypass = self.bypass_head(self.bypass(torch.cat([time, *self.image_feature(len(t), picture)], dim=1)))
        return TokenVectors(vectors, vectors, rearrange(bypass, "b (n d) -> b n d", n=self.tokens) * self.bypass_unit)

    def time_feature(self, t: Tensor) -> Tensor:
        """What all heads see of timesteps t [B], clamped to the dynamic stage: [B, HIDDEN]."""
        return self.time(self.anchors(sinusoid(t.to(self.word).clamp(self.stages.t_lo, self.stages.t_hi))))

    def image_feature(self, rows: int, picture: Tensor | None) -> list[Tensor]:
        """The image embedding of each row [B, E] as a list of one, or of none without image embeddings."""
        if self.image_embeddings is None:
            return []
        if picture is None:
            return [self.image_embeddings.mean(0).expand(rows, -1)]
        return [self.image_embeddings[picture.to(self.image_embeddings.device)]]

    @torch.no_grad()
    def exported(self) -> "StageMapper":
        """The same function without the image embeddings: being constant, they are a bias of the bypass.

        What is kept of a person is then no embedding of the photo, and generating needs no photo.
        """
        mapper = StageMapper(self.word, self.stages, self.tokens, widths=self.widths).to(self.word.device)
        state = {name: value for name, value in self.state_dict().items() if name != "image_embeddings"}
        for name, unit in (("head", self.unit), ("bypass_head", self.bypass_unit)):
            unit = unit.expand(self.tokens, -1).flatten()
            state[f"{name}.weight"] = state[f"{name}.weight"] * unit[:, None]
            state[f"{name}.bias"] = state[f"{name}.bias"] * unit
        state["head.bias"] = state["head.bias"] + (self.start - self.initializers).flatten()
        if self.image_embeddings is not None:
            weight, bias = state["bypass.0.weight"], state["bypass.0.bias"]
            state["bypass.0.bias"] = bias + weight[:, HIDDEN:] @ self.image_embeddings.mean(0)
            state["bypass.0.weight"] = weight[:, :HIDDEN]
        mapper.load_state_dict(state)
        return mapper

    @torch.no_grad()
    def go_on_from(self, kept: "StageMapper") -> None:
        """Begin at what the mapper of a file says, which is to undo `exported`. The image embeddings, which a file does
        not have, begin to count while learning."""
        state = {**self.state_dict(), **kept.state_dict(), "word": self.word}
        state["head.bias"] = state["head.bias"] - (self.start - self.initializers).flatten()
        for name, unit in (("head", self.unit), ("bypass_head", self.bypass_unit)):
            unit = unit.expand(self.tokens, -1).flatten()
            state[f"{name}.weight"] = state[f"{name}.weight"] / unit[:, None]
            state[f"{name}.bias"] = state[f"{name}.bias"] / unit
        if self.image_embeddings is not None:
            state["image_embeddings"] = self.image_embeddings
            weight = state["bypass.0.weight"]
            state["bypass.0.weight"] = torch.cat([weight, weight.new_zeros(HIDDEN, self.image_embeddings.shape[1])], 1)
        self.load_state_dict(state)

    def small(self) -> Saved:
        """What it says at the timesteps at which it is read; the mapper itself where that cannot be kept in fp16."""
        return StageVectors.of(self) or self.exported()


def learning_units(word: Tensor, output: Tensor, widths: tuple[int, ...] = ()) -> tuple[Tensor, Tensor]:
    """[D] or [N, D] each, what an output of 1 of the head and of the bypass head moves a token by while it is learned.

    word: of that shape, as `initializers`. output: alike, what the text encoder makes of it.
    """
    return OFFSET * spread(word, widths), BYPASS * spread(output, widths)


def sinusoid(t: Tensor) -> Tensor:
    """Sinusoidal embedding of timesteps t [B] -> [B, TIME_WIDTH], of norm 1.

    The published one counts single timesteps, so that what is learned for t says little of t + 10. Ours counts
    in GRID timesteps: prompts are encoded on that grid, and between its points the mapper must be smooth.
    """
    half = TIME_WIDTH // 2
    frequencies = torch.exp(-math.log(10_000) * torch.arange(half, device=t.device, dtype=t.dtype) / half)
    angles = t[:, None] / GRID * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=1) / math.sqrt(half)


def anchored_linear(stages: Stages) -> Linear:
    """TIME_WIDTH -> ANCHORS; each output starts as the cosine of t's embedding and an anchor timestep's."""
    layer = Linear(TIME_WIDTH, ANCHORS)
    with torch.no_grad():
        layer.weight.copy_(sinusoid(torch.linspace(stages.t_lo, stages.t_hi, ANCHORS)))
        layer.bias.zero_()
    return layer


def hidden_layer(width: int) -> list[nn.Module]:
    return [Linear(width, HIDDEN), LayerNorm(HIDDEN), nn.LeakyReLU()]


def zero_linear(inputs: int, outputs: int) -> Linear:
    # Token embeddings are some 0.02 an element: a usual start would throw every vector far from its word.
    layer = Linear(inputs, outputs)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
