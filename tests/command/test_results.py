"""The table of results: one line an id, whole whatever happens."""

import csv
from dataclasses import replace

import pytest

from persona_core.command.outcomes import told
from persona_core.command.results import COLUMNS, FAILED, LEARNED, THERE, OtherTable, Result, Results
from persona_core.command.rows import Row
from persona_core.persona import Persona
from tools.environment import PACK

FIRST = PACK / "tests/first_release/stage_mapper.safetensors"


def lines(path) -> list[dict]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_lines_are_there_at_once_and_one_an_id_in_the_end(tmp_path):
    results = Results(tmp_path / "new/results.csv")
    results.add(Result("ann", FAILED, error="No face,\nnowhere."))
    assert [line["error"] for line in lines(results.path)] == ["No face, nowhere."]
    results.add(Result("bob", LEARNED, "bob.safetensors", "1" * 32, seconds=1.5))
    results.add(Result("ann", LEARNED, "ann.safetensors", "2" * 32))
    results.settle()
    assert [(line["id"], line["status"], line["error"]) for line in lines(results.path)] == [
        ("ann", LEARNED, ""),
        ("bob", LEARNED, ""),
    ]


def test_what_is_there_keeps_the_line_that_tells_how_it_came(tmp_path):
    Results(tmp_path / "results.csv").add(Result("ann", LEARNED, "ann.safetensors", "1" * 32, seconds=1.5))
    later = Results(tmp_path / "results.csv")
    later.add(Result("ann", THERE, "ann.safetensors", "1" * 32))
    later.settle()
    assert [(line["status"], line["seconds"]) for line in lines(later.path)] == [(LEARNED, "1.5")]
    later.add(Result("ann", THERE, "ann.safetensors", "2" * 32))
    later.settle()
    assert [line["status"] for line in lines(later.path)] == [THERE]


def test_part_of_a_line_is_taken_away(tmp_path):
    """By whoever writes next: this command, or one that began before another was killed."""
    path = tmp_path / "results.csv"
    first = Results(path)
    first.add(Result("ann", LEARNED))
    for mended_by in (lambda: Results(path), lambda: first.add(Result("cat", LEARNED))):
        with path.open("ab") as file:
            file.write(b"bob,lear")
        mended_by()
        assert "bob" not in [line["id"] for line in lines(path)] and path.read_bytes().endswith(b"\n")
    assert [line["id"] for line in lines(path)] == ["ann", "cat"]
    path.write_bytes(b"")
    Results(path).add(Result("ann", LEARNED))
    assert [line["id"] for line in lines(path)] == ["ann"]


def test_two_that_write_lose_nothing(tmp_path):
    one, other = Results(tmp_path / "results.csv"), Results(tmp_path / "results.csv")
    one.add(Result("ann", LEARNED))
    other.add(Result("bob", LEARNED))
    other.settle()
    one.add(Result("cat", LEARNED))
    one.settle()
    assert sorted(line["id"] for line in lines(one.path)) == ["ann", "bob", "cat"]


@pytest.mark.parametrize("content", ["id,photo\nann,a.png\n", "my only notes", "status,id,else\n"])
def test_what_is_no_table_of_results_is_left_as_it_is(tmp_path, content):
    (path := tmp_path / "results.csv").write_text(content)
    with pytest.raises(OtherTable, match="no table of results"):
        Results(path)
    assert path.read_text() == content and [path] == list(tmp_path.iterdir())


def test_a_table_of_an_earlier_version_keeps_what_it_says(tmp_path):
    (path := tmp_path / "results.csv").write_text("\ufeffid,status,file,error\nann,learned,a.safetensors,\n", "utf-8")
    Results(path).add(Result("bob", LEARNED))
    assert [(line["id"], line["file"]) for line in lines(path)] == [("ann", "a.safetensors"), ("bob", "")]
    assert list(lines(path)[0]) == COLUMNS


def test_what_others_wrote_meanwhile_is_known(tmp_path):
    """Whoever began before still says only `there` of whom another has learned."""
    one, other = Results(tmp_path / "results.csv"), Results(tmp_path / "results.csv")
    one.add(Result("ann", LEARNED, "f", "1" * 32, seconds=9.0))
    other.add(Result("ann", THERE, "f", "1" * 32))
    assert [(line["status"], line["seconds"]) for line in lines(one.path)] == [(LEARNED, "9.0")]


def test_texts_are_harmless_and_come_back_as_they_were(tmp_path):
    """Spreadsheets take some beginnings for formulas, terminals some letters for orders."""
    results = Results(tmp_path / "results.csv")
    names = ["=1+1", "-rf", "@a", "'=b", "it's", "'c", "a  b", "x" * 200_000, "\ud800\x1b[2J"]
    for name in names:
        results.add(Result(name, FAILED, "/my  folder/a", error="+1\n 2"))
    told = lines(results.path)
    assert [line["id"] for line in told[:7]] == ["'=1+1", "'-rf", "'@a", "''=b", "it's", "'c", "a  b"]
    assert {(line["file"], line["error"]) for line in told} == {("/my  folder/a", "'+1 2")}
    assert told[-1]["id"] == r"\ud800\x1b[2J" and len(told[-2]["id"]) == 10_000
    again = Results(results.path)
    assert list(again.last)[:7] == names[:7] and lines(results.path) == told


def test_who_could_not_be_scored_and_then_is_has_no_error_left(tmp_path):
    results = Results(tmp_path / "results.csv")
    learned = Result("ann", LEARNED, "ann.safetensors", "1" * 32, seconds=1.5, error="Not scored: No face.")
    results.add(learned)
    results.add(replace(learned, status=THERE, seconds=None, error=""))
    assert lines(results.path)[-1]["error"] == "Not scored: No face."
    results.add(replace(learned, status=THERE, seconds=None, score=0.5, error=""))
    line = lines(results.path)[-1]
    assert (line["error"], line["score"], line["seconds"], line["status"]) == ("", "0.5", "1.5", LEARNED)


def test_who_was_cut_short_is_told_so(tmp_path):
    persona = replace(Persona.load(FIRST), settings={"ended by": "its 15 minutes"})
    assert told(Row("ann"), LEARNED, persona, "ann.safetensors").error == "Cut short by its 15 minutes."
    assert told(Row("ann"), LEARNED, Persona.load(FIRST), "ann.safetensors").error == ""
