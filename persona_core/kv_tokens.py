"""SeFi-IDE's K/V tokens: even stages over all timesteps, each with one token for K and one for V
(arXiv 2402.00631, section 3.2).

Shapes: S stages, D width of the text encoder (of all, if there are several), W of one of them, B rows.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import LayerNorm, Linear

from .representation import Learnable, Saved, TokenVectors, on_sphere, word_shape
from .stages import LAST_TIMESTEP, TIMESTEPS, Stages

HEADS = 8
# How far a token moves in a step: this many learning rates times the word's own spread, through its offset and through
# the shared layers alike. So neither drowns the other, and a wide text encoder learns as steadily as a narrow one.
REACH = 64
# How far all of it moves a token, in spreads of the word for a learning rate of 1, and as how many stages S of them
# count that learn nothing from each other: S to that power; both measured by bench-budget. Faster, the shared layers
# bring all tokens to what K and V have in common, and those never come apart.
TOGETHER, SHARED = 300.0, 0.55
MOST_PAIRS = 100  # in a file; the paper has up to ten


class KVTokens(Saved):
    """What is kept of such a persona: its vectors [S, 2, D], one pair of K and V tokens for each stage.

    word: [D], the input embedding of the supercategory, which has one token as these have. widths: of the text
    encoders; none: there is one. Stage 0 holds the timesteps from 0.
    """

    kind = "kv_tokens"
    vectors: Tensor
    tokens, stages = 1, Stages(0, LAST_TIMESTEP)

    def __init__(self, word: Tensor, vectors: Tensor, widths: tuple[int, ...] = ()):
        super().__init__()
        self.widths = widths or (len(word),)
        self.register_buffer("word", word.detach().clone().float())
        self.register_buffer("vectors", vectors.detach().clone().float())

    @classmethod
    def layout(cls, shapes: Mapping[str, tuple[int, ...]], tokens: int, stages: Stages) -> dict[str, tuple[int, ...]]:
        (width,), count = word_shape(shapes, 1), (shapes.get("vectors") or (0,))[0]
        if tokens != 1 or not 1 <= count <= MOST_PAIRS:
            raise ValueError(f"it has {tokens} tokens and {count} pairs, not 1 and up to {MOST_PAIRS}")
        return {"word": (width,), "vectors": (count, 2, width)}

    @classmethod
    def from_tensors(
        cls, tensors: Mapping[str, Tensor], stages: Stages, tokens: int, widths: tuple[int, ...]
    ) -> "KVTokens":
        """From the tensors of a file, which have that layout."""
        return cls(tensors["word"], tensors["vectors"], widths)

    def facts(self) -> dict[str, object]:
        return {"kind": "SeFi-IDE's K/V tokens", "tokens": self.tokens, "stages": f"{len(self.vectors)}, even"}

    @property
    def starts(self) -> tuple[int, ...]:
        """The first timestep of each stage."""
        return tuple(first_timestep(stage, len(self.vectors)) for stage in range(len(self.vectors)))

    def clamped(self, t: float) -> float:
        """The timestep whose vectors stand for t: the first one of its stage."""
        return float(first_timestep(int(stage_of(torch.tensor(t), len(self.vectors))), len(self.vectors)))

    def at(self, t: Tensor, picture: Tensor | None = None) -> TokenVectors:
        """The pair of each timestep's stage: keys and values [B, 1, D] for t [B] in 0..999."""
        return pair_of(self.vectors, t)

    def exported(self) -> "KVTokens":
        return self


class TokenExpander(Learnable):
    """What is learned: for each text encoder a module that expands its word to the pairs of all stages.

    word: [D]. count: S. seed: of the initial weights. widths: of the text encoders; none: there is one. start: [D],
    where every token is before anything is learned, brought to the sphere; None: the word.
    """

    tokens, stages, noise_multiplicity, reach = 1, Stages(0, LAST_TIMESTEP), 2, TOGETHER

    def __init__(
        self,
        word: Tensor,
        count: int = 5,
        seed: int = 0,
        widths: tuple[int, ...] = (),
        start: Tensor | None = None,
    ):
        super().__init__()
        self.pieces, self.apart, self.widths = count, count**SHARED, widths or (len(word),)
        self.register_buffer("word", word.detach().clone().float())
        word = self.initializers
        starts = word if start is None else on_sphere(start.detach().float(), word, self.widths)
        parts = starts.split(self.widths)
        self.encoders = nn.ModuleList(EncoderTokens(part, count, seed) for part in parts)

    def expand(self) -> Tensor:
        """All pairs [S, 2, D]."""
        return torch.cat([encoder() for encoder in self.encoders], dim=-1)

    def at(self, t: Tensor, picture: Tensor | None = None) -> TokenVectors:
        """As KVTokens.at, with gradient to what is learned."""
        return pair_of(self.expand(), t)

    @torch.no_grad()
    def exported(self) -> KVTokens:
        """The vectors alone: the modules are needed no more."""
        return KVTokens(self.word, self.expand(), self.widths)


class EncoderTokens(nn.Module):
    """Expands the word [W] of one text encoder, or what else it starts at, to pairs [S, 2, W].

    Each token is that, moved by an offset of its own, by two layers of self-attention between the tokens and by
    one feed-forward layer.

    Unlike the paper's, tokens stay on the word's sphere, as PersonaMagic's do: where they may grow, they become many
    times as long as any word, and the rest of the prompt is lost.
    """

    word: Tensor

    def __init__(self, word: Tensor, count: int, seed: int):
        super().__init__()
        width = len(word)
        self.register_buffer("word", word.clone())
        self.offsets = nn.Parameter(torch.zeros(2 * count, width))
        with torch.random.fork_rng(devices=[], device_type="cpu"):
            torch.default_generator.manual_seed(seed)
            self.attentions = nn.ModuleList(nn.MultiheadAttention(width, HEADS, batch_first=True) for _ in range(2))
            self.norms = nn.ModuleList(LayerNorm(width) for _ in range(3))
            self.feed_forward = nn.Sequential(Linear(width, width), nn.GELU(), Linear(width, width))
        for last in (*(f"attentions.{number}.out_proj" for number in range(2)), "feed_forward.2"):
            nn.init.zeros_(self.get_parameter(f"{last}.weight"))
            nn.init.zeros_(self.get_parameter(f"{last}.bias"))

    def forward(self) -> Tensor:
        width = len(self.word)
        scale, share = self.word.norm() * width**-0.5, REACH / width
        x = (self.word / scale + REACH * self.offsets)[None]
        for attention, norm in zip(self.attentions, self.norms):
            normed = norm(x)
            x = x + share * attention(normed, normed, normed, need_weights=False)[0]
        x = x + share * self.feed_forward(self.norms[-1](x))
        return on_sphere(x * scale, self.word).reshape(-1, 2, width)


def stage_of(t: Tensor, count: int) -> Tensor:
    """Which of `count` even stages of the timesteps 0..999 each t is in."""
    return (t.float() * count / TIMESTEPS).long().clamp(0, count - 1)


def first_timestep(stage: int, count: int) -> int:
    """The lowest timestep of a stage."""
    return -(-stage * TIMESTEPS // count)


def pair_of(vectors: Tensor, t: Tensor) -> TokenVectors:
    """The stage's tokens at t [B]: keys and values [B, 1, D] of vectors [S, 2, D]."""
    keys, values = vectors[stage_of(t.to(vectors.device), len(vectors))][:, None].unbind(2)
    return TokenVectors(keys, values)
