"""Write locales/, the texts that ComfyUI gives the editor in other languages: those of the nodes (nodes/described.json)
and of web/js, in the words of tools/languages/LANGUAGE.json.

    python -m tools.write_locales

A file of tools/languages holds each English text and its translation. Texts that are new are added to it, empty, and
those that nobody says any more leave it; tests/core/test_locales.py fails until nothing is empty.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path

from tools.environment import PACK

DESCRIBED, LANGUAGES, LOCALES = PACK / "nodes/described.json", PACK / "tools/languages", PACK / "locales"
SAID = re.compile(r'\bsay\(\s*"([^"]+)"\s*[,)]')  # in web/js; see texts.js there
OF_THE_EDITOR = "{}|@"  # its message format gives them a meaning
AS_IT_IS = re.compile(r"[<_/%\d]")  # a word of a sentence that has one of these is a name, a number, or a %place%
Texts = dict[str, "str | Texts"]


def nodes() -> dict[str, dict]:
    return json.loads(DESCRIBED.read_text())


def inputs(node: dict) -> dict[str, dict]:
    """Of a described node: what the editor is told of each input."""
    return {name: options for part in node["input"].values() for name, (_, options) in part.items()}


def is_socket(options: dict) -> bool:
    """Whether an input that the editor is told this of can only be linked."""
    return options.keys() == {"tooltip"}


def english() -> dict[str, Texts]:
    """The files of a language by name, in English."""
    scripts = [file.read_text(encoding="utf-8") for file in sorted((PACK / "web/js").glob("*.js"))]
    said = {text: text for script in scripts for text in SAID.findall(script)}
    return {"nodeDefs.json": {name: of_node(node) for name, node in nodes().items()}, "main.json": {"persona": said}}


def of_node(node: dict) -> Texts:
    """Of a described node what the editor looks up."""
    outputs = zip(node["output_name"], node["output_tooltips"])
    return {
        "display_name": node["display_name"],
        "description": node["description"],
        "inputs": {name: {"name": name, "tooltip": options["tooltip"]} for name, options in inputs(node).items()},
        "outputs": {str(index): {"name": name, "tooltip": tooltip} for index, (name, tooltip) in enumerate(outputs)},
    }


def leaves(texts: Texts) -> Iterator[str]:
    for value in texts.values():
        if isinstance(value, str):
            yield value
        else:
            yield from leaves(value)


def translated(texts: Texts, words: dict[str, str]) -> Texts:
    """The same in these words. What they lack is left out, and the editor shows it in English."""
    found = {}
    for key, value in texts.items():
        one = words.get(value) if isinstance(value, str) else translated(value, words)
        if one:
            found[key] = one
    return found


def files(words: dict[str, str]) -> dict[str, Texts]:
    """The files of a language by name, in these words."""
    found = {name: translated(texts, words) for name, texts in english().items()}
    for name, node in nodes().items():
        for socket, options in inputs(node).items():
            tooltip = words.get(options["tooltip"])
            if tooltip and is_socket(options):  # Nodes 2.0 looks for it under what the socket is called there
                found["nodeDefs.json"][name]["inputs"].setdefault(words.get(socket) or socket, {"tooltip": tooltip})
    return found


def all_texts() -> list[str]:
    return list(dict.fromkeys(text for file in english().values() for text in leaves(file)))


def kept(text: str, words: dict[str, str]) -> list[str]:
    """What a text's translation must hold: names, numbers and choices as they are, nodes as they are called there."""
    found = [word.strip(".,:;()") for word in text.split() if " " in text and AS_IT_IS.search(word)]
    for node in nodes().values():
        choices = [one.get("options", []) for one in inputs(node).values() if one["tooltip"] == text]
        found += [choice for some in choices for choice in some if f"{choice}: " in text]
        title, there = (name.split(" (")[0] for name in (node["display_name"], words.get(node["display_name"], "")))
        found += [there] if title in text else []
    return list(dict.fromkeys(found))


def faults(words: dict[str, str]) -> list[str]:
    """What is wrong with a language's words, a sentence each."""
    texts = all_texts()
    found = [f"Not there, or empty: {text!r}" for text in texts if not words.get(text)]
    found += [f"Nobody says this any more: {text!r}" for text in words if text not in texts]
    for text, translation in words.items():
        if translation:
            found += [f"{word!r} is not in {translation!r}" for word in kept(text, words) if word not in translation]
            found += [f"No {mark!r} in {translation!r}" for mark in OF_THE_EDITOR if mark in translation]
    return found


def write(file: Path, content: Texts) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def main() -> None:
    for language in sorted(LANGUAGES.glob("*.json")):
        known = json.loads(language.read_text(encoding="utf-8"))
        words = {text: known.get(text, "") for text in all_texts()}
        write(language, words)
        for name, content in files(words).items():
            write(LOCALES / language.stem / name, content)
        for fault in faults(words):
            print(f"{language.relative_to(PACK)}: {fault}")


if __name__ == "__main__":
    main()
