"""SECURITY.md names a test for each thing that others cannot do: it is there, and the page stays one to read."""

import ast
import re
from pathlib import Path

PACK = Path(__file__).resolve().parents[2]
PAGE = (PACK / "SECURITY.md").read_text(encoding="utf-8")
NAMED = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE)


def test_each_test_that_it_names_is_there():
    assert len(NAMED) > 15
    for file, name in NAMED:
        tree = ast.parse((PACK / file).read_text(encoding="utf-8"))
        there = [node.name for node in tree.body if isinstance(node, (ast.FunctionDef, ast.ClassDef))]
        assert name in there, f"{file}::{name}"


def test_each_line_of_its_tables_names_one():
    lines = [
        line for line in PAGE.splitlines() if line.startswith("| ") and not re.match(r"\| (\| Shown by|---)", line)
    ]
    assert len(lines) > 15 and not [line for line in lines if not re.search(r"`tests/[\w/]+\.py::\w+` \|$", line)]


def test_it_can_be_read_in_one_sitting():
    assert len(PAGE.splitlines()) <= 120
