"""Tables to rows: what is said, what is refused as a whole, what is one row's trouble."""

import json
from pathlib import Path

import pytest

from persona_core.command.rows import TableError, left_out, read, row_of
from persona_core.settings import LEARN_PERSONA


def table(folder, text: str, name: str = "people.csv") -> str:
    (folder / name).write_bytes(text.encode())
    return str(folder / name)


def problems(folder, text: str) -> list[str]:
    return [row.problem for row in read(table(folder, text))]


def test_a_table_is_read_with_its_settings_and_what_is_said_for_all(tmp_path):
    text = "\ufeffid,photo,supercategory,steps,mirror,method,consent_by\r\nänn,a b.png;/c.png,,12,yes,,Ann\r\nbob,s3://x/b.png,man,,,kv,\r\n"
    ann, bob = read(table(tmp_path, text), {"steps": "7", "caption": "in a hat"})
    assert ann.photos == (str(tmp_path / "a b.png"), "/c.png") and bob.photos == ("s3://x/b.png",)
    assert ann.settings == {"steps": 12, "mirror": True, "caption": "in a hat"} and ann.consent == {"by": "Ann"}
    assert (bob.method, bob.settings) == ("kv", {"supercategory": "man", "steps": 7, "caption": "in a hat"})


def test_a_spreadsheet_of_another_country_is_read(tmp_path):
    [row] = read(table(tmp_path, 'id;photo;steps\nann;"a.png;b.png";7\n'))
    assert len(row.photos) == 2 and row.settings == {"steps": 7}


def test_lines_of_json_and_parquet_say_the_same(tmp_path):
    records = [
        {"id": "ann", "photos": ["a.png", "b.png"], "learning_rate": 0.001},
        {"id": "bob", "photo": '["c.png"]', "tokens": 2},
    ]
    ann, bob = lines = read(table(tmp_path, "\n".join(map(json.dumps, records)), "people.jsonl"))
    assert (len(ann.photos), ann.settings, bob.settings) == (2, {"learning_rate": 0.001}, {"tokens": 2})
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    parquet.write_table(
        pyarrow.Table.from_pylist([records[0], {"id": "bob", "photos": ["c.png"], "tokens": 2}]), tmp_path / "p.parquet"
    )
    assert [row.photos for row in read(str(tmp_path / "p.parquet"))] == [row.photos for row in lines]


def test_a_folder_of_photos_is_a_table(tmp_path):
    for name in ("ann.png", "Bob.JPG", "notes.txt", ".hidden.png", "ann.webp", "cat.HEIC"):
        (tmp_path / name).touch()
    assert "1 left out" in left_out(str(tmp_path)) and "'cat.HEIC'" in left_out(str(tmp_path))
    (tmp_path / "more").mkdir()
    assert "2 left out" in left_out(str(tmp_path)) and not left_out(str(tmp_path / "more"))
    rows = {row.id: row.problem for row in read(str(tmp_path), {"steps": "7"})}
    assert set(rows) == {"Bob", "ann", "ann (row 3)"} and "each id is one persona" in rows["ann (row 3)"]


@pytest.mark.parametrize("named", ["data/photos", "./data/photos/", "../studio/data/photos", "data/photos/more/.."])
def test_photos_of_a_folder_are_found_however_it_is_named(tmp_path, monkeypatch, named):
    (tmp_path / "studio/data/photos/more").mkdir(parents=True)
    (tmp_path / "studio/data/photos/ann.png").touch()
    monkeypatch.chdir(tmp_path / "studio")
    for place, folder in ((named, "."), (".", "data/photos")):
        monkeypatch.chdir(folder)
        assert [Path(photo).is_file() for row in read(place) for photo in row.photos] == [True]


def test_an_id_that_lists_would_take_for_a_kept_copy_is_a_row_with_a_sentence(tmp_path):
    rows = read(table(tmp_path, "id,photo\nann.20261128,a.png\nann.2026,a.png\n", "people.csv"))
    assert "kept copy of 'ann'" in rows[0].problem and not rows[1].problem


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("people.csv", "id,photo,setps\nann,a.png,5\n", "'setps'"),
        ("people.csv", "id,photo\nann,a.png,5\n", "''"),
        ("people.csv", "id,photo\n", "no row"), ("people.csv", "", "no row"), ("people.csv", "id,photo\n,\n", "no row"),
        ("people.csv", "id,photo, photo\nann,a.png,b.png\n", "Two columns"), ("people.jsonl", '{"id": ' + "[" * 50_000, "Line 1"),
        ("people.csv", "id,photo\nann,\"a.png\n", "no CSV"),
        ("people.jsonl", '{"id": "ann"}\n{"id": "bob", "maks": 1}', "'maks'"),
        ("people.jsonl", '{"id": "ann"}\n["bob"]', "Line 2"),
        ("people.jsonl", '{"id"', "Line 1"),
        ("people.xlsx", "", "neither a folder nor a table"),
        ("gone.csv", None, "There is no"),
    ],
)  # fmt: skip
def test_a_table_that_cannot_be_trusted_is_refused_with_a_sentence(tmp_path, name, text, says):
    place = table(tmp_path, text, name) if text is not None else str(tmp_path / name)
    with pytest.raises(ValueError, match=says):
        read(place)
    with pytest.raises(TableError, match="for all rows"):
        read(table(tmp_path, "id,photo\nann,a.png\n"), {"stpes": "5"})


@pytest.mark.parametrize(
    ("cells", "says"),
    [
        ("ann,,,", "no photo"), (",a.png,,", "no id"), ("a/b,a.png,,", "plain name"), ("con,a.png,,", "cannot be a file's name"),
        ("ann,a.png,many,", "steps is 'many', which is not a whole number"), ("ann,a.png,-1,", "steps is -1. Use 0 to 20000"),
        ("ann,a.png,1.5,", "whole number"), ("ann,a.png,,pairs", "no setting of method learn"),
    ],
)  # fmt: skip
def test_a_row_that_is_wrong_says_why_and_the_next_is_read(tmp_path, cells, says):
    last = "pairs" if cells.endswith("pairs") else "preset"
    text = f"id,photo,steps,{last}\n{cells.replace('pairs', '3')}\nbob,b.png,5,\n"
    wrong, right = problems(tmp_path, text)
    assert says in wrong and not right


@pytest.mark.parametrize(
    "cells", ["ann,a.png\nAnn,b.png", "1,a.png\n1,b.png", "ann,a.png\nann,", "ann (row 2),a.png\nAnn (row 2),b.png"]
)
def test_the_same_person_twice_is_told_and_has_a_line_of_its_own(tmp_path, cells):
    one, other = read(table(tmp_path, f"id,photo\n{cells}\n"))
    assert not one.problem and other.problem and other.id == f"{other.id.removesuffix(' (row 2)')} (row 2)" != one.id


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("id,photo,\nann,a.png,\n,,\n ,,\n", [("ann", "a.png")]),
        ("\r\nid,photo\nRene\u0301,a.png", [("Ren\u00e9", "a.png")]),
        ("id,photo,steps\nann,~ann.png, \nbob,[1] bob.png,", [("ann", "~ann.png"), ("bob", "[1] bob.png")]),
        (f"id,photo\nann,{'[' * 50_000}", [("ann", "[" * 50_000)]),
    ],
)  # fmt: skip
def test_what_spreadsheets_and_file_systems_do_is_understood(tmp_path, text, found):
    rows = read(table(tmp_path, text))
    assert [(row.id, row.photos, row.problem) for row in rows] == [
        (name, (str(tmp_path / photo),), "") for name, photo in found
    ]


@pytest.mark.parametrize(
    ("said", "name", "wrong"),
    [
        ("0", "0", False), ('["ann"]', "row 1", True), ('" "', "row 1", True), ("true", "row 1", True),
        (r'"\ud800\u001b[2J"', r"\ud800\x1b[2J", True), (f'"{"x" * 200_000}"', "x" * 200, True),
    ],
)  # fmt: skip
def test_an_id_of_json_that_is_no_name_is_a_rows_trouble(tmp_path, said, name, wrong):
    text = f'{{"id": {said}, "photo": "a.png", "caption": "a\u2028b"}}\n'
    one, other = read(table(tmp_path, text + text.replace(said, '"bob"'), "people.jsonl"))
    assert (one.id, bool(one.problem), len(one.problem) < 500) == (name, wrong, True) and not other.problem


def test_a_cell_of_lists_in_lists_is_a_rows_trouble():
    nested: list = []
    for _ in range(100_000):
        nested = [nested]
    assert "without end" in row_of({"id": "ann", "photo": nested}, 1, "people.parquet").problem


def test_what_is_said_for_all_is_checked_and_left_out_where_a_method_has_none(tmp_path):
    place = table(tmp_path, "id,photo,method\nann,a.png,\nbob,b.png,KV\n")
    assert [row.settings for row in read(place, {"pairs": "3", "keep_mapper": "yes"})] == [
        {"keep_mapper": True},
        {"pairs": 3},
    ]
    assert all(row.consent == {"by": "Ann"} for row in read(place, {"consent_by": "Ann"}))
    wrong = {"id": "ann", "photo": "a.png", "steps": "many", "tokens": " ", "method": "none", "consent_on": "today"}
    for name, value in wrong.items():
        with pytest.raises(
            TableError, match=f"{name.partition('_')[0]}.*what was said for all|what was said for all.*"
        ):
            read(place, {name: value})


def test_limits_are_those_of_the_editor():
    resolution, preset = LEARN_PERSONA["resolution"], LEARN_PERSONA["preset"]
    assert [bool(resolution.trouble("resolution", value)) for value in (0, 8, 32, 2048, 2056, None)] == [
        0,
        1,
        0,
        0,
        1,
        0,
    ]
    assert "Choose one of: auto" in preset.trouble("preset", "slow")
    assert LEARN_PERSONA["train_seed"].read("train_seed", "4294967295") == 2**32 - 1
    for said in ("nan", "inf", "", "1e400", True):
        with pytest.raises(ValueError, match="steps is"):
            LEARN_PERSONA["steps"].read("steps", said)
    with pytest.raises(ValueError, match="learning_rate is"):
        LEARN_PERSONA["learning_rate"].read("learning_rate", "nan")
