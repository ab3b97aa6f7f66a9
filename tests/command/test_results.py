"""The table of results: one line an id, whole whatever happens."""

import csv

from persona_core.command.results import FAILED, LEARNED, THERE, Result, Results


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
