"""Tables to rows: what is said, what is refused as a whole, what is one row's trouble."""

import json

import pytest

from persona_core.command.rows import TableError, read
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
    for name in ("ann.png", "Bob.JPG", "notes.txt", ".hidden.png", "ann.webp"):
        (tmp_path / name).touch()
    rows = {row.id: row.problem for row in read(str(tmp_path), {"steps": "7"})}
    assert set(rows) == {"Bob", "ann", "ann (row 3)"} and "each id is one persona" in rows["ann (row 3)"]


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("people.csv", "id,photo,setps\nann,a.png,5\n", "'setps'"),
        ("people.csv", "id,photo\nann,a.png,5\n", "''"),
        ("people.csv", "id,photo\n", "no row"),
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


def test_the_same_person_twice_is_told(tmp_path):
    assert list(map(bool, problems(tmp_path, "id,photo\nann,a.png\nAnn,b.png\n"))) == [False, True]


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
