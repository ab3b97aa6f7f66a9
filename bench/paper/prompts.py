"""What people are painted in: prompts of our own, of SeFi-IDE's three classes and PersonaMagic's two."""

from collections.abc import Sequence
from dataclasses import dataclass

KINDS = SCENE, ACTION, ATTRIBUTE, STYLE, CLOTHING = "scene", "action", "facial attribute", "style", "clothing"


@dataclass(frozen=True)
class Prompt:
    """kind: of what it asks for. text: with "{}" for the person, as a word of its own: PhotoMaker looks for one."""

    kind: str
    text: str


TEXTS = {
    SCENE: (
        "a photo of a {} in front of a lighthouse",
        "a photo of a {} in a snowy mountain village",
        "a photo of a {} on a crowded market square",
        "a {} in a field of sunflowers",
        "a photo of a {} on a beach at sunset",
        "a photo of a {} under cherry trees in blossom",
        "a {} in a library between high shelves",
        "a photo of a {} on a rainy street at night",
        "a {} beside a waterfall in the jungle",
        "a photo of a {} in front of the Colosseum",
    ),
    ACTION: (
        "a photo of a {} reading a newspaper",
        "a photo of a {} playing the piano",
        "a {} riding a bicycle",
        "a photo of a {} holding a basket of apples",
        "a {} drinking tea from a blue cup",
        "a photo of a {} cooking in a kitchen",
        "a photo of a {} talking on the phone",
        "a {} painting at an easel",
        "a photo of a {} feeding a horse",
        "a {} sitting in an armchair with a cat",
    ),
    ATTRIBUTE: (
        "a photo of a {} with closed eyes",
        "a photo of a {} laughing with an open mouth",
        "a photo of a very old {} with wrinkles",
        "a photo of a {} with short green hair",
        "a photo of an angry {} with a frown",
        "a photo of a {} as a small child",
        "a photo of a surprised {} with raised eyebrows",
        "a photo of a {} with face paint of a tiger",
    ),
    STYLE: (
        "an oil painting of a {} in the style of the old masters",
        "a pencil drawing of a {} on white paper",
        "a watercolour of a {} with soft colours",
        "a marble bust of a {} in a museum",
        "a comic book drawing of a {} with bold lines",
        "a woodcut of a {} in black and white",
        "a stained glass window of a {} in a church",
        "a clay figure of a {} in an animated film",
    ),
    CLOTHING: (
        "a photo of a {} in a yellow raincoat",
        "a photo of a {} wearing a straw hat",
        "a {} in the armour of a knight",
        "a photo of a {} wearing round sunglasses",
        "a photo of a {} in a white doctor's coat",
        "a {} in a space suit without a helmet",
        "a photo of a {} wearing a red woollen scarf",
        "a photo of a {} in a black suit with a bow tie",
    ),
}
PROMPTS = tuple(Prompt(kind, text) for kind, texts in TEXTS.items() for text in texts)


def some(prompts: Sequence[Prompt], count: int) -> list[Prompt]:
    """So many, evenly from all: each kind keeps its share."""
    count = min(count, len(prompts))
    return [prompts[number * len(prompts) // count] for number in range(count)]
