"""How somebody looks today: where the head turns, what the face does and what is worn."""

from dataclasses import dataclass

import torch

EXPRESSIONS = ("neutral", "smiling", "laughing", "sad", "surprised", "angry")
TURNS = ("left", "front", "right")  # as one who looks at the picture sees it
HATS = ("none", "cap", "beanie", "straw hat", "top hat", "beret", "crown", "party hat", "flowers")
GLASSES = ("none", "round glasses", "square glasses", "sunglasses", "heart glasses")
CLOTHES = ("shirt", "sweater", "striped sweater", "hoodie", "suit", "dress", "dungarees", "coat")
CAT_CLOTHES = ("nothing", "collar", "bow tie", "scarf")
CAT_HATS = ("none", "crown", "party hat", "flowers")
COLOURS = {
    "red": "#d6493f", "blue": "#3f6fc4", "green": "#4f9a66", "yellow": "#f0bf48", "pink": "#ec93ae",
    "purple": "#8a68b8", "orange": "#ea8544", "white": "#f2eee6", "black": "#33313c", "brown": "#94684a",
}  # fmt: skip


@dataclass(frozen=True)
class Look:
    """yaw: -1 (to the left) .. 1 (to the right). The colours are keys of COLOURS."""

    yaw: float = 0.0
    expression: str = "neutral"
    hat: str = "none"
    hat_colour: str = "red"
    glasses: str = "none"
    clothes: str = "sweater"
    colour: str = "blue"

    @property
    def turn(self) -> str:
        return "left" if self.yaw < -0.5 else "right" if self.yaw > 0.5 else "front"

    @classmethod
    def draw(cls, generator: torch.Generator, kind: str = "woman") -> "Look":
        """Half look ahead; no hat in 60 %, no glasses in 65 % (cats: 85 %); friendly faces are more frequent.

        kind: "woman", "man" (who wears no dress) or "cat".
        """
        cat, clothes = kind == "cat", {"cat": CAT_CLOTHES, "man": tuple(c for c in CLOTHES if c != "dress")}

        def choose(values, first: float | None = None):
            """Uniform, or the first with the probability `first`."""
            chance, pick = torch.rand(2, generator=generator).tolist()
            if first is None:
                return list(values)[int(pick * len(values))]
            return values[0] if chance < first else values[1 + int(pick * (len(values) - 1))]

        def mood() -> str:
            weights = torch.tensor([0.2, 0.24, 0.18, 0.12, 0.14, 0.12])
            return EXPRESSIONS[int(torch.multinomial(weights, 1, generator=generator))]

        turn = choose(("front", "left", "right"), 0.5)
        jitter = torch.rand((), generator=generator).item() - 0.5
        return cls(
            {"front": 0.3 * jitter, "left": -0.85 + 0.3 * jitter, "right": 0.85 + 0.3 * jitter}[turn],
            mood(), choose(CAT_HATS if cat else HATS, 0.6), choose(COLOURS),
            choose(GLASSES, 0.85 if cat else 0.65), choose(clothes.get(kind, CLOTHES)), choose(COLOURS),
        )  # fmt: skip
