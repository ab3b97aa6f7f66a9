"""A picture says of itself who is in it: which persona, by which word, how strong; beside the workflow in its file.

ComfyUI writes what `extra_pnginfo` holds into the pictures of a prompt, unless --disable-metadata is on. The editor sends
one. Where there is none, packs take it that there is nothing: the prompt itself, in the picture too, says it all then.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import folder_paths

from ..persona_core.files import PersonaFileError, read_metadata
from ..persona_core.host import store
from ..persona_core.persona import own_placeholder, placeholder_of
from ..persona_core.provenance import PERSONAS, as_json


def personas_of(prompt: Mapping[str, object]) -> list[dict[str, object]]:
    """Of each Apply of a prompt in API form: the persona's file or name, its placeholder, its strength; None for a
    value that comes over a link."""
    return [applied(prompt, inputs) for kind, inputs in map(told, prompt.values()) if kind == "PersonaApply"]


def applied(prompt: Mapping[str, object], inputs: Mapping[str, object]) -> dict[str, object]:
    link, placeholder, strength = (inputs.get(name) for name in ("persona", "placeholder", "strength"))
    kind, given = told(prompt.get(str(link[0])) if isinstance(link, list) and link else None)
    source = SOURCES.get(kind)
    persona = typed(given.get(source.input)) if source else None
    if typed(placeholder) == "" and persona:
        placeholder = source.placeholder(persona)
    return {
        "persona": persona,
        "placeholder": typed(placeholder),
        "strength": None if isinstance(strength, list) else strength,
    }


def told(node: object) -> tuple[str, Mapping[str, object]]:
    """The class of a node and its inputs, of whatever its sender wrote."""
    kind, inputs = (node.get("class_type"), node.get("inputs")) if isinstance(node, dict) else ("", {})
    return kind if isinstance(kind, str) else "", inputs if isinstance(inputs, dict) else {}


def before(prompt: Mapping[str, object], node: str) -> Mapping[str, object]:
    """The part of a prompt that a node's inputs come from, and the node; all of it where the node is not in it, as one
    that another node has put there while it ran."""
    found, wanted = {}, [node]
    while wanted:
        key = wanted.pop()
        if key in prompt and key not in found:
            found[key] = prompt[key]
            wanted += [str(link[0]) for link in told(prompt[key])[1].values() if isinstance(link, list) and link]
    return found or prompt


def told_in(texts: Mapping[str, bytes]) -> list[Mapping[str, object]]:
    """Whom a picture's texts name, whoever wrote them: as `tell` did or, where only the prompt is there, as it says."""
    written, prompt = as_json(texts.get(PERSONAS)), as_json(texts.get("prompt"))
    if isinstance(written, list):
        return [one for one in written if isinstance(one, dict)]
    return personas_of(prompt) if isinstance(prompt, dict) else []


def typed(value: object) -> str | None:
    return value.strip() if isinstance(value, str) else None


def kept_placeholder(file: str) -> str | None:
    """The placeholder that a persona's file was made for; None where there is no such file."""
    path = folder_paths.get_full_path(store.FOLDER, file)
    try:
        return own_placeholder(read_metadata(Path(path))) if path else None
    except PersonaFileError:
        return None


@dataclass(frozen=True)
class Source:
    """A node that gives a persona: which of its inputs says which, and the placeholder of that one."""

    input: str
    placeholder: Callable[[str], str | None]


SOURCES = {
    "PersonaLoad": Source("persona_name", kept_placeholder),
    "PersonaLearn": Source("name", placeholder_of),
    "PersonaKVTokens": Source("name", placeholder_of),
}


def tell(queued: dict) -> dict:
    """Given each prompt that is queued, as its sender wrote it."""
    prompt, extra = queued.get("prompt"), queued.get("extra_data")
    info = extra.get("extra_pnginfo") if isinstance(extra, dict) else None
    if isinstance(prompt, dict) and isinstance(info, dict) and (personas := personas_of(prompt)):
        info[PERSONAS] = personas
    return queued
