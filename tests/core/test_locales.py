"""Other languages: each says all that the nodes and web/js say, and nothing else, and ComfyUI is given that."""

import json
import re

import pytest

from tools.write_locales import (
    LANGUAGES,
    LOCALES,
    PACK,
    SAID,
    all_texts,
    english,
    faults,
    files,
    inputs,
    is_socket,
    nodes,
)

NAMES = sorted(file.stem for file in LANGUAGES.glob("*.json"))
WHAT_TO_DO = "Run `python -m tools.write_locales`, translate what is empty or wrong in tools/languages/{}.json, and run it again."


def words(language: str) -> dict[str, str]:
    return json.loads((LANGUAGES / f"{language}.json").read_text(encoding="utf-8"))


def test_there_are_these_languages_and_no_others():
    assert {"de", "es", "fr", "ja", "ko", "zh"} <= set(NAMES)
    assert sorted(folder.name for folder in LOCALES.iterdir()) == NAMES


@pytest.mark.parametrize("language", NAMES)
def test_nothing_is_untranslated_and_nothing_is_left_over(language):
    found = faults(words(language))
    assert not found, "\n".join([WHAT_TO_DO.format(language), *found])


@pytest.mark.parametrize("language", NAMES)
def test_comfyui_is_given_what_was_translated(language):
    for name, content in files(words(language)).items():
        served = json.loads((LOCALES / language / name).read_text(encoding="utf-8"))
        assert served == content, WHAT_TO_DO.format(language)


@pytest.mark.parametrize("language", NAMES)
def test_what_a_socket_is_called_is_one_word(language):
    """Or Nodes 2.0 does not find its tooltip."""
    sockets = {key for node in nodes().values() for key, options in inputs(node).items() if is_socket(options)}
    assert "latent_image" in sockets
    assert not [words(language)[socket] for socket in sockets if " " in words(language)[socket]]


class TestAFaultIsFound:
    """In a language that had none."""

    TEXT = "The checkpoint, with or without LoRA."

    @pytest.fixture
    def french(self):
        french = words("fr")
        assert faults(french) == []
        return french

    def test_a_text_that_is_new_or_not_yet_translated(self, french):
        for changed in ({**french, self.TEXT: ""}, {text: one for text, one in french.items() if text != self.TEXT}):
            assert faults(changed) == [f"Not there, or empty: {self.TEXT!r}"]

    def test_a_text_that_was_changed(self, french):
        french["The checkpoint, with a LoRA."] = french.pop(self.TEXT)
        assert len(faults(french)) == 2

    @pytest.mark.parametrize(
        "lost, instead",
        [
            ("<ann>", "ann"),
            ("0.003", "0,003"),
            ("balanced :", "équilibré :"),
            ("learning_rate", "taux"),
            ("« Charger", "« Chargez"),
        ],
    )
    def test_a_name_a_number_a_choice_or_a_node_that_is_called_otherwise(self, french, lost, instead):
        text = next(text for text, translation in french.items() if " " in text and lost in translation)
        found = faults({**french, text: french[text].replace(lost, instead)})
        assert len(found) == 1 and lost.strip("« :") in found[0]

    def test_what_the_editor_would_read_as_something_else(self, french):
        assert len(faults({**french, self.TEXT: "Le checkpoint {LoRA}"})) == 2


def test_every_text_of_web_js_is_among_them():
    """A text that is put together while it runs would not be found."""
    scripts = [file.read_text(encoding="utf-8") for file in (PACK / "web/js").glob("*.js")]
    said = english()["main.json"]["persona"]
    assert said and set(said) <= set(all_texts())
    calls = sum(len(re.findall(r"\bsay\(", script)) for script in scripts) - 1  # where it is defined
    assert calls == sum(len(SAID.findall(script)) for script in scripts)
