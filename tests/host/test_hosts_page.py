"""What `make test-host` writes down."""

import json

from bench.pages import markdown
from tools import try_host as test_host
from tools.environment import installed


def row(host, suite, frontend="", renderer="", passed=10, failed=0):
    return {
        "host": host,
        "suite": suite,
        "frontend": frontend,
        "renderer": renderer,
        "passed": passed,
        "failed": failed,
        "skipped": 0,
    }


def test_it_finds_the_host_that_was_set_up():
    host, python, _ = test_host.prepare(None)
    assert test_host.is_host(host) and str(host) == installed()["host"] and str(python) == installed()["python"]


def test_a_line_for_each_comfyui_and_frontend():
    rows = [
        row("0.3.75", "core"),
        row("0.3.75", "host", passed=5, failed=2),
        row("0.3.75", "browser", "1.32.9", "classic"),
        row("0.3.75", "browser", "1.32.9", "Nodes 2.0", passed=9, failed=1),
        row("0.3.75", "browser", "1.58.1", "classic"),
        row("0.33.0", "server"),
    ]
    assert test_host.summary(rows)[2:] == [
        ["0.3.75", "15 of 17", "1.32.9", "10 of 10", "9 of 10"],
        ["", "", "1.58.1", "10 of 10", ""],
        ["0.33.0", "10 of 10", "", "", ""],
    ]


def test_versions_are_sorted_as_numbers():
    assert sorted(["0.33.0", "0.3.75", "0.10.0"], key=test_host.number) == ["0.3.75", "0.10.0", "0.33.0"]


def test_the_readme_says_what_was_run():
    rows = json.loads(test_host.RESULTS.read_text())
    [table] = test_host.TABLE.findall(test_host.README.read_text())
    assert rows and markdown(test_host.summary(rows)) in test_host.README.read_text() and table
