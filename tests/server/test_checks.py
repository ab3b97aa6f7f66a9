"""What the editor asks while an artist types: the sentence that a run would say, before there is one."""

from urllib.parse import urlencode

import pytest


@pytest.mark.parametrize(
    ("node", "name", "value", "says"),
    [
        ("PersonaLearn", "name", "", "name is empty"),
        ("PersonaLearn", "name", "friends/ann", "plain name without folders"),
        ("PersonaSave", "name", "friends/ann", ""),
        ("PersonaSave", "name", "../ann", "cannot be a file's name"),
        ("PersonaLearn", "name", "Ann", ""),
        ("PersonaSave", "consent_until", " 2027-11-27", ""),
        ("PersonaSave", "consent_on", "27.11.2026", "Write it as 2026-11-27"),
        ("PersonaLearn", "supercategory", " person ", ""),
        ("PersonaKVTokens", "supercategory", "xylographer", "has at most 1. Use a simpler word"),
        ("PersonaKVTokens", "reference_word", "", ""),
        ("PersonaKVTokens", "reference_word", "two words", "The reference word 'two words'"),
        ("PersonaStagePartition", "supercategory", "", "must be a common word"),
        ("PersonaStagePartition", "supercategory", "axolotl", ""),
        ("PersonaApply", "placeholder", "", ""),
        ("PersonaApply", "placeholder", "<ann>", ""),
        ("PersonaApply", "placeholder", "a b", "must be one word"),
        ("PersonaApply", "no_such", "x", ""),
        ("KSampler", "seed", "<img src=x>", ""),
        ("PersonaLearn", "name", "x" * 5000, "cannot be a file's name"),
    ],
)
def test_it_is_what_a_run_would_say(server, node, name, value, says):
    wrong = server.get(f"/persona/check?{urlencode({'node': node, 'input': name, 'value': value})}")["wrong"]
    assert says in wrong and bool(says) == bool(wrong)


@pytest.mark.parametrize(
    ("tokens", "says"),
    [("4", ""), ("3", "Set tokens to 4, or use"), ("", ""), ("all", "")],  # where it is not known, nothing is said
)
def test_a_word_of_several_tokens_needs_as_many(server, tokens, says):
    asked = {"node": "PersonaLearn", "input": "supercategory", "value": "axolotl", "tokens": tokens}
    wrong = server.get(f"/persona/check?{urlencode(asked)}")["wrong"]
    assert says in wrong and bool(says) == bool(wrong)
    assert not wrong or "makes 4 tokens in the text encoders of SD1.x, SD2.x and SDXL, but" in wrong  # not in others


def test_a_question_without_its_parts_is_answered(server):
    assert server.get("/persona/check") == {"wrong": ""}
