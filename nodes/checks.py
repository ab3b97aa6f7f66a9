"""What an artist types, checked while they type: web/js/checks.js asks, and marks what a run would refuse."""

import asyncio
from collections.abc import Callable
from functools import cache, partial

from aiohttp import web
from comfy.sd1_clip import SDTokenizer

from ..persona_core.consent import is_day
from ..persona_core.file_names import check_name
from ..persona_core.files import shown
from ..persona_core.host.placeholder import check_placeholder
from ..persona_core.host.towers import ClipTower, check_room
from ..persona_core.recipes import KVTokensRecipe, Recipe, StageMapperRecipe

ROUTE = "/persona/check"
ENCODERS = "the text encoders of SD1.x, SD2.x and SDXL"


@cache
def vocabulary() -> ClipTower:
    """That of CLIP, the same in ENCODERS. Which one a checkpoint has is known once that is loaded."""
    return ClipTower("clip_l", None, SDTokenizer())


def check_word(name: str, word: str, recipe: type[Recipe], tokens: str) -> None:
    """name: of the input. tokens: as many as the node says, "" where that is not known."""
    if name == "reference_word" and not word.strip():  # empty is the supercategory
        return
    called, most = name.replace("_", " "), recipe.most_tokens
    count = len(vocabulary().word_ids(word, called))
    check_room(word, count, int(tokens) if tokens.isdecimal() else most, most, called, ENCODERS)


def check_own(placeholder: str) -> None:
    if placeholder.strip():  # empty is the persona's own
        check_placeholder(placeholder, ())


def check_day(day: str) -> None:
    if day.strip() and not is_day(day.strip()):
        raise ValueError(f"{shown(day)} is no day of a calendar. Write it as 2026-11-27.")


NAME = partial(check_name, folders=False)
CHECKS: dict[tuple[str, str], Callable[[str], object]] = {
    ("PersonaLearn", "name"): NAME,
    ("PersonaKVTokens", "name"): NAME,
    ("PersonaApply", "placeholder"): check_own,
    ("PersonaSave", "name"): partial(check_name, folders=True),
    ("PersonaSave", "consent_on"): check_day,
    ("PersonaSave", "consent_until"): check_day,
}
WORDS: dict[tuple[str, str], type[Recipe]] = {
    ("PersonaLearn", "supercategory"): StageMapperRecipe,
    ("PersonaKVTokens", "supercategory"): KVTokensRecipe,
    ("PersonaKVTokens", "reference_word"): KVTokensRecipe,
    ("PersonaStagePartition", "supercategory"): StageMapperRecipe,
}


def wrong_with(node: str, name: str, value: str, tokens: str = "") -> str:
    """The sentence with which a run would refuse an input's value, "" where it would not, or that is not known."""
    try:
        if (node, name) in WORDS:
            check_word(name, value, WORDS[node, name], tokens)
        CHECKS.get((node, name), str)(value)
    except ValueError as error:
        return str(error)
    return ""


async def answer(request: web.Request) -> web.Response:
    """`node`, `input`, `value`, `tokens` of the query: {"wrong": a sentence or ""}. Nothing is kept, no file is
    touched."""
    asked = [request.query.get(key, "") for key in ("node", "input", "value", "tokens")]
    return web.json_response({"wrong": await asyncio.to_thread(wrong_with, *asked)})
