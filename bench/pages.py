"""What the pages that benchmarks write have in common."""

import subprocess
from collections.abc import Iterable, Sequence
from datetime import date
from pathlib import Path
from statistics import mean, stdev


def markdown(lines: Iterable[Sequence[str]]) -> str:
    """Lines of cells, the first two the headings and the rule below them, as a table."""
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def standard_error(values: Sequence[float]) -> float:
    return stdev(values) / len(values) ** 0.5 if len(values) > 1 else float("nan")


def with_error(values: Sequence[float], digits: int = 3) -> str:
    """Mean and standard error."""
    return f"{mean(values):.{digits}f} ± {standard_error(values):.{digits}f}"


def made() -> str:
    """When, and by which state of the code."""
    return f"{date.today()}, commit {commit()}"


def commit(besides: Sequence[str] = ()) -> str:
    """Which state of the code this is. besides: files whose changes do not count, from the pack's folder."""
    folder = Path(__file__).parent.parent
    unchanged = ("status", "--porcelain", "--untracked-files=no", "--", ".", *(f":!{file}" for file in besides))
    name, changes = (
        subprocess.run(["git", *command], cwd=folder, capture_output=True, text=True).stdout.strip()
        for command in (("rev-parse", "--short", "HEAD"), unchanged)
    )
    return f"{name or 'unknown'}{' with changes' if changes else ''}"
