"""What may be chosen of learning, by the names of the nodes' inputs: the defaults and limits of nodes and command."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .files import QUOTED, shown
from .losses import COMPARED, REDUCTIONS
from .recipes import DEFAULT, KV_PRESETS, PRESETS, STARTS, WEIGHTS, StageMapperRecipe

MINUTES = 15.0  # that auto may take
SMALLEST, LARGEST = 32, 2048  # resolutions in pixels a side
YES, NO = ("true", "yes", "on", "1"), ("false", "no", "off", "0")
Value = str | int | float | bool


@dataclass(frozen=True)
class Setting:
    """default: also tells the kind. least, most, step: of numbers. options: of words that are chosen from a list.
    unless_zero: the least there is but for 0, which means that something else decides."""

    default: Value
    least: float | None = None
    most: float | None = None
    step: float | None = None
    options: tuple[str, ...] = ()
    unless_zero: float | None = None

    def limits(self) -> dict[str, Any]:
        """As arguments of the host's inputs."""
        if self.options:
            return {"options": list(self.options), "default": self.default}
        told = {"default": self.default, "min": self.least, "max": self.most, "step": self.step}
        told = {name: value for name, value in told.items() if value is not None}
        return told | ({"round": False} if isinstance(self.default, float) else {})

    def read(self, name: str, said: object) -> Value:
        """A value as a table says it, in text or as a number. Raises ValueError with a sentence."""
        try:
            value = self.converted(said)
        except (TypeError, ValueError, OverflowError):
            kind = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}
            raise ValueError(f"{name} is {shown(said, QUOTED)}, which is not {kind[type(self.default)]}.") from None
        if trouble := self.trouble(name, value):
            raise ValueError(trouble)
        return value

    def converted(self, said: object) -> Value:
        """Of the default's kind. Raises ValueError, TypeError."""
        if isinstance(self.default, str):
            if not isinstance(said, str):
                raise TypeError
            return said.strip()
        text = str(said).strip().lower()
        if isinstance(self.default, bool):
            if text not in YES + NO:
                raise ValueError
            return text in YES
        number = float(text)
        if isinstance(self.default, float):
            return number
        if number != int(number):
            raise ValueError
        return int(text) if text.lstrip("+-").isdigit() else int(number)

    def trouble(self, name: str, value: Value | None) -> str:
        """A sentence on a value that is out of bounds, or "". None is not known yet."""
        if value is None:
            return ""
        if self.options and value not in self.options:
            return f"{name} is '{value}', which is not in its list. Choose one of: {', '.join(self.options)}."
        if self.least is None or self.most is None or isinstance(value, str):
            return ""
        if self.unless_zero is not None and not (value == 0 or self.unless_zero <= value <= self.most):
            return (
                f"{name} is {value}. Use 0, which is what the checkpoint's family paints best at, or "
                f"{self.unless_zero:g} to {self.most:g} pixels."
            )
        return "" if self.least <= value <= self.most else f"{name} is {value}. Use {self.least:g} to {self.most:g}."


def weight(default: float, most: float = 1.0) -> Setting:
    """Of a loss."""
    return Setting(default, 0.0, most, 0.0001)


RESOLUTION = Setting(0, 0, LARGEST, 8, unless_zero=SMALLEST)
SHARED = {
    "steps": Setting(0, 0, 20000),
    "learning_rate": Setting(0.0, 0.0, 0.1, 1e-6),
    "batch_size": Setting(0, 0, 32),
    "resolution": RESOLUTION,
    "crop_to_face": Setting(True),
    "mirror": Setting(False),
    "train_seed": Setting(0, 0, 2**32 - 1),
    "attention_reduction": Setting(REDUCTIONS[0], options=tuple(REDUCTIONS)),
    "caption": Setting(""),
    "minutes": Setting(MINUTES, 0.0, 600.0, 0.5),
    "context_weight": weight(0.0, 100.0),
    "start": Setting(STARTS[0], options=tuple(STARTS)),
    "loss_weights": Setting(WEIGHTS[0], options=tuple(WEIGHTS)),
}
LEARN_PERSONA = {
    **SHARED,
    "supercategory": Setting("face"),
    "tokens": Setting(4, 1, StageMapperRecipe.most_tokens),
    "te_weight": weight(0.001),
    "attention_weight": weight(0.0),
    "preset": Setting(DEFAULT, options=tuple(PRESETS)),
    "keep_mapper": Setting(False),
}
KV_TOKENS = {
    **SHARED,
    "supercategory": Setting("person"),
    "pairs": Setting(5, 1, 10),
    "attention_weight": weight(3e-3),
    "attention_tokens": Setting(COMPARED[0], options=tuple(COMPARED)),
    "reference_word": Setting("person"),
    "te_weight": weight(0.0),
    "augment": Setting(True),
    "preset": Setting(DEFAULT, options=tuple(KV_PRESETS)),
}
METHODS = {"learn": LEARN_PERSONA, "kv": KV_TOKENS}


def completed(settings: Mapping[str, Setting], chosen: Mapping[str, Any]) -> dict[str, Any]:
    """What is chosen, and the defaults of the rest."""
    return {**{name: one.default for name, one in settings.items()}, **chosen}


def trouble(settings: Mapping[str, Setting], chosen: Mapping[str, Any]) -> str:
    """The first sentence on what is chosen out of bounds, or ""."""
    return next(filter(None, (settings[name].trouble(name, value) for name, value in chosen.items())), "")
