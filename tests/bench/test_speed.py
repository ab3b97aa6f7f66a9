"""`make bench-speed` on the small architecture: every part runs, and what it writes holds together."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
PACK = Path(__file__).resolve().parents[2]


def test_every_part_is_measured_and_its_ratios_are_those_of_its_seconds(tmp_path):
    page = tmp_path / "speed.md"
    command = f"-m bench.speed --architecture small --size 64 --memory-size 64 --repeats 2 --page {page}"
    done = subprocess.run([sys.executable, *command.split()], cwd=PACK, capture_output=True, text=True, timeout=550)
    assert done.returncode == 0, done.stderr
    tables = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", page.read_text(), re.MULTILINE | re.DOTALL))
    steps = rows(tables["A learning step against a forward pass: small"])
    assert len(steps) == 2 * 3 * 3  # precisions, batches and kinds
    for *_, forward, step, ratio in steps:
        least, greatest = (edges(step)[end] / edges(forward)[1 - end] for end in (0, 1))
        assert 0.98 * least <= edges(ratio)[0] <= edges(ratio)[1] <= 1.02 * greatest
    shares = rows(tables["Where a step's time goes: small"])
    for _, _, *parts in shares:
        assert sum(number(part) for part in parts) == pytest.approx(100, abs=8)  # medians of each
    pictures = rows(tables["Beside other trainers: a step"])
    assert len(pictures) == 7 and all(number(step) >= number(sample) > 0 for _, step, sample in pictures)
    for title in ("Sampling", "Sampling, step by step"):
        assert [row[0] for row in rows(tables[title])] == ["0", "0, another prompt", "1", "3"]
    assert all(number(peak) > 0 for *_, peak, _ in rows(tables["Peak memory of learning at 64x64 pixels"]))
    assert {"Encoding a prompt", "Nodes", "A persona's file"} < set(tables)


def rows(table: str) -> list[list[str]]:
    """The cells of a Markdown table, without its heading."""
    lines = [line for line in table.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


def edges(cell: str) -> tuple[float, float]:
    """The least and the greatest of a median with its spread."""
    return tuple(float(one) for one in re.search(r"\((\S+) to (\S+)\)", cell).groups())


def number(cell: str) -> float:
    return float(re.match(r"[-+.\d]+", cell)[0])
