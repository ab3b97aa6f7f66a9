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
        ("PersonaKVTokens", "supercategory", "xylographer", "single token, but it makes"),
        ("PersonaKVTokens", "reference_word", "", ""),
        ("PersonaKVTokens", "reference_word", "two words", "The reference word 'two words'"),
        ("PersonaStagePartition", "supercategory", "", "it makes 0"),
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


def test_a_question_without_its_parts_is_answered(server):
    assert server.get("/persona/check") == {"wrong": ""}
