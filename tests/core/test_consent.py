"""Who agreed: a note in the persona's file that stays with it, and that old files lack."""

import json
from dataclasses import replace
from datetime import date

import pytest
from gallery import put_persona
from prompts import FIRST_RELEASE
from safetensors import safe_open

from persona_core.consent import LONGEST, Consent
from persona_core.files import PersonaFileError
from persona_core.persona import Persona

ANN = Consent("Ann Smith", "2026-11-27", "portraits at home", "2027-11-27")
TODAY = date(2026, 11, 27)


def metadata(path) -> dict[str, str]:
    with safe_open(path, "pt") as file:
        return file.metadata()


def test_it_is_kept_and_a_file_without_it_is_as_before(tmp_path):
    persona = Persona.load(FIRST_RELEASE / "kv_tokens.safetensors")
    assert not persona.consent and "consent" not in metadata(persona.save(tmp_path / "none.safetensors"))
    path = replace(persona, consent=ANN).save(tmp_path / "ann.safetensors")
    assert Persona.load(path).consent == ANN
    assert json.loads(metadata(path)["consent"])["purpose"] == "portraits at home"
    assert str(ANN) == "Ann Smith, on 2026-11-27, for portraits at home, until 2027-11-27"


@pytest.mark.parametrize(
    "wrong",
    ["null", "[]", '"Ann"', '{"by": 1}', '{"by": null}', '{"by": " "}', '{"by": "a\\nb"}', '{"on": "2026-11-27"}', '{"by": "Ann", "until": "20261127"}', '{"by": "Ann", "until": "2026-13-01"}', '{"by": "Ann", "until": "for ever"}', '{"by": "Ann", "on": "٢٠٢٦-11-27"}', '{"x": NaN}', '{"x": [1e999]}', '{"x": ' + 300 * "[" + 300 * "]" + "}", f'{{"x": "{20_000 * "a"}"}}', f'{{"by": "{"a" * (LONGEST + 1)}"}}'],
)  # fmt: skip
def test_one_that_is_none_is_refused_in_a_short_sentence(tmp_path, wrong):
    path = put_persona(tmp_path / "ann.safetensors", consent=wrong)
    with pytest.raises(PersonaFileError, match="damaged persona: its consent") as found:
        Persona.load(path)
    assert len(str(found.value)) <= 300 and str(found.value).isprintable()


def test_what_a_later_version_says_beside_is_kept_and_the_rest_is_checked(tmp_path):
    later = {"where": "Rome", "witnesses": 2, "places": ["a list", {"a table": [1.5, None]}]}
    path = put_persona(tmp_path / "ann.safetensors", consent=json.dumps(ANN.fields() | later))
    agreed = Persona.load(path).consent
    assert str(agreed) == str(ANN) and not agreed.lacking(TODAY) and agreed.lacking(date(2028, 1, 1))
    longer = replace(Persona.load(path), consent=agreed.changed("", "", "", "2028-01-01"))
    told = json.loads(metadata(longer.save(path))["consent"])
    assert told == {**ANN.fields(), "until": "2028-01-01", **later}
    assert agreed.changed("Bob", "2027-01-01", "", "").fields() == {"by": "Bob", "on": "2027-01-01"}
    alone = Persona.load(put_persona(path, consent=json.dumps(later)))
    assert not alone.consent and json.loads(metadata(alone.save(path))["consent"]) == later
    assert alone.consent.changed("Bob", "2027-01-01", "", "").fields() == {"by": "Bob", "on": "2027-01-01", **later}
    wrong = put_persona(path, consent='{"by": "Ann", "until": "soon", "where": "Rome"}')
    with pytest.raises(PersonaFileError, match="its consent"):
        Persona.load(wrong)


def test_what_is_left_empty_stays_and_another_person_begins_anew():
    assert ANN.changed("", "", "", "") == ANN
    assert ANN.changed("Ann Smith ", "", "", "2028-01-01") == Consent(ANN.by, ANN.on, ANN.purpose, "2028-01-01")
    today = date.today().isoformat()
    assert ANN.changed("Bob", "", "", "") == Consent("Bob", today)
    assert Consent().changed("Bob", "2020-01-01", "", "") == Consent("Bob", "2020-01-01")
    assert Consent().changed("", "", "", "") == Consent()
    with pytest.raises(ValueError, match="who agreed"):
        Consent().changed("", "", "", "2028-01-01")


@pytest.mark.parametrize(
    ("consent", "says"),
    [(ANN, ""), (Consent("Ann"), ""), (Consent("Ann", until="2026-11-27"), ""), (Consent("Ann", until="2026-11-26"), "ended on 2026-11-26"), (Consent(), "no consent is noted")],
)  # fmt: skip
def test_it_lasts_through_its_last_day(consent, says):
    lacking = consent.lacking(TODAY)
    assert says in lacking and bool(says) == bool(lacking)
