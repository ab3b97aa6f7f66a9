"""How long and how fast to learn with Learn Persona; `make bench-presets` measures what each costs and gives."""

from dataclasses import replace

from .problem import LearningSettings

PRESETS = {
    "quick": LearningSettings(steps=30, learning_rate=6e-4, batch_size=2, decay=True, warmup=20),
    "balanced": LearningSettings(steps=50, learning_rate=4e-4, batch_size=4, decay=True, warmup=25),
    "published": LearningSettings(),
}
DEFAULT = "balanced"


def settings_of(
    preset: str, seed: int, steps: int = 0, learning_rate: float = 0.0, batch_size: int = 0
) -> LearningSettings:
    """A preset's settings, but for those that are given: 0 is the preset's. A learning rate that is given stays."""
    own = {"steps": steps, "learning_rate": learning_rate, "batch_size": batch_size}
    own = {name: value for name, value in own.items() if value}
    usual = PRESETS[preset]
    if 0 < steps < usual.steps:
        own["warmup"] = usual.warmup * steps // usual.steps
    if learning_rate:
        own |= {"decay": False, "warmup": 0}
    return replace(usual, seed=seed, **own)
