"""What a persona is asked for: prompts, and what their pictures must then show.

A prompt's "{}" is the persona. Its table holds words of the instruments (see crops.py) for the persona's figure and
for the picture, and beside them
    "shot"       "small": the persona's head is small
    "side"       "left" or "right": where the persona is of the two in the picture
    "other ..."  a word of the instruments for the other one; it also says that there are two
"""

from __future__ import annotations

import re

from ..drawing.look import CAT_CLOTHES, CAT_HATS

PROMPTS: dict[str, dict[str, str]] = {
    "a photo of a {}": {},
    "a {} wearing a red cap": {"hat": "cap", "hat colour": "red"},
    "a photo of a {} with round glasses": {"glasses": "round glasses"},
    "a photo of a {} in a yellow sweater": {"clothes": "sweater", "colour": "yellow"},
    "a {} at the beach": {"place": "beach"},
    "a photo of a {} on a street at night": {"place": "street", "time": "night"},
    "a {} with a straw hat": {"hat": "straw hat"},
    "a {} laughing": {"expression": "laughing"},
    "a portrait of a {}, looking to the right": {"turn": "right"},
    "a photo of a {} wearing a golden crown in a forest": {"hat": "crown", "place": "forest"},
    "a photo of a {} laughing, with sunglasses": {"expression": "laughing", "glasses": "sunglasses"},
    "a picture of a {} laughing, wearing a purple sweater, in a kitchen": {
        "expression": "laughing", "clothes": "sweater", "colour": "purple", "place": "kitchen"},
    "a photo of a {} turned to the left, with a blue beanie, in snowy mountains": {
        "turn": "left", "hat": "beanie", "hat colour": "blue", "place": "mountains"},
    "a photo of a {} and an orange cat in a garden": {"other kind": "cat", "other coat": "orange", "place": "garden"},
    "a {} on the left and a man in a red beret on the right": {
        "side": "left", "other kind": "person", "other hat": "beret", "other hat colour": "red"},
    "a photo of a {} from far away": {"shot": "small"},
}  # fmt: skip
# In place of those that no cat can follow; no two cats are ever seen together.
FOR_CATS: dict[str, dict[str, str]] = {
    "a {} wearing a red party hat": {"hat": "party hat", "hat colour": "red"},
    "a photo of a {} with a red collar": {"clothes": "collar", "colour": "red"},
    "a photo of a {} with a yellow bow tie": {"clothes": "bow tie", "colour": "yellow"},
    "a picture of a {} laughing, wearing a purple scarf, in a kitchen": {
        "expression": "laughing", "clothes": "scarf", "colour": "purple", "place": "kitchen"},
    "a photo of a {} turned to the left, with a blue party hat, in snowy mountains": {
        "turn": "left", "hat": "party hat", "hat colour": "blue", "place": "mountains"},
    "a photo of a {} and a woman in a black coat and a scarf in a garden": {
        "other kind": "person", "other clothes": "coat", "other colour": "black", "place": "garden"},
}  # fmt: skip
# Two personas, and the sides where {0} and {1} must be. Captions that name no side go from left to right.
PAIR_PROMPTS: dict[str, tuple[str, str]] = {
    "a {0} on the left and a {1} on the right": ("left", "right"),
    "a photo of a {0} on the right and a {1} on the left in a garden": ("right", "left"),
    "a photo of a {0} next to a {1}": ("left", "right"),
    "a picture of a {1} on the left and a {0} on the right at the beach": ("right", "left"),
}


def prompts_for(kind: str = "person") -> dict[str, dict[str, str]]:
    """PROMPTS for a "person" or a "cat", equally many."""
    if kind == "person":
        return PROMPTS
    return {prompt: want for prompt, want in PROMPTS.items() if fits_cats(want)} | FOR_CATS


def fits_cats(want: dict[str, str]) -> bool:
    worn = want.get("hat", "none") in CAT_HATS and want.get("clothes", "nothing") in CAT_CLOTHES
    return worn and want.get("other kind") != "cat"


def said(prompt: str, *words: str) -> str:
    """The prompt with these words for "{}", or for "{0}" and "{1}". A name, known by its capital, takes no article."""

    def put(match: re.Match) -> str:
        article, number = match.groups()
        word = words[int(number or 0)]
        return word if article is None or word[0].isupper() else f"{article}{word}"

    return re.sub(r"\b(a |the )?\{(\d?)\}", put, prompt)
