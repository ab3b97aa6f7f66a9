"""Run the tests in another ComfyUI, in an environment of its own, and write down how they ended.

    python -m tools.try_host [HOST] [--frontends 1.49.6 1.58.1] [--suites core host server browser]

HOST is a ComfyUI's folder; without one it is that of set-up. The browser suite runs in each frontend (a version on
PyPI, "own" is what the ComfyUI asks for), in the classic renderer and in Nodes 2.0. The table of all that was run so
far is in docs/hosts.md and in the README.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from datetime import date
from pathlib import Path
from xml.etree import ElementTree

from bench.pages import commit, markdown
from tools.environment import HOME, PACK, is_host

SUITES = ("core", "host", "server", "browser")
RESULTS, PAGE, README = PACK / "docs/hosts.json", PACK / "docs/hosts.md", PACK / "README.md"
TABLE = re.compile(r"(<!-- hosts -->\n).*?(<!-- /hosts -->)", re.DOTALL)
WRITTEN = [file.relative_to(PACK).as_posix() for file in (RESULTS, PAGE, README)]
FRONTEND = "comfyui_frontend_package/static"
RENDERERS = {"classic": "", "Nodes 2.0": "1"}


def version_of(host: Path) -> str:
    found = re.search(r'__version__ = "(.+?)"', (host / "comfyui_version.py").read_text())
    return found[1] if found else host.name


def prepare(host: Path | None) -> tuple[Path, Path, dict[str, str]]:
    """The host, the Python that has what it needs, and the environment for both."""
    env = {name: value for name, value in os.environ.items() if name not in ("COMFYUI_FRONTEND", "COMFYUI_NODES2")}
    if host is not None:
        env |= {"COMFYUI_PATH": str(host), "COMFYUI_VENV": str(HOME / "hosts" / version_of(host))}
    set_up = [sys.executable, "-m", "tools.environment"]
    subprocess.run([*set_up, "--browser"], cwd=PACK, env=env, check=True)

    def ask(what: str) -> Path:
        command = [*set_up, "--print", what]
        told = subprocess.run(command, cwd=PACK, env=env, check=True, capture_output=True, text=True)
        return Path(told.stdout.strip())

    return ask("host"), ask("python"), env


def fetch_frontend(python: Path, version: str) -> Path:
    """A frontend's files, unpacked beside set-up's ComfyUI."""
    folder = HOME / "frontends" / version
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as download:
            wanted = f"comfyui-frontend-package=={version}"
            command = [python, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", download, wanted]
            subprocess.run(command, check=True)
            zipfile.ZipFile(next(Path(download).glob("*.whl"))).extractall(whole := Path(download) / "whole")
            whole.rename(folder)
    return folder / FRONTEND


def installed_frontend(python: Path) -> str:
    code = "from importlib.metadata import version; print(version('comfyui-frontend-package'))"
    return subprocess.run([python, "-c", code], check=True, capture_output=True, text=True).stdout.strip()


def run(python: Path, env: dict, suite: str) -> dict[str, int]:
    """How many tests of a suite passed, failed and were skipped. A suite that breaks off ends the command."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [python, "-m", "pytest", f"tests/{suite}", f"--junitxml={report}"]
        if (ended := subprocess.run(command, cwd=PACK, env=env).returncode) not in (0, 1):
            sys.exit(f"The suite {suite} did not run to its end (exit {ended}); nothing is written down of it.")
        counts = ElementTree.parse(report).getroot().find("testsuite").attrib
    total, failed, skipped = (int(counts[name]) for name in ("tests", "failures", "skipped"))
    failed += int(counts["errors"])
    return {"passed": total - failed - skipped, "failed": failed, "skipped": skipped}


def keep(row: dict) -> None:
    """Put a result in the place of the last one of the same kind."""
    rows = json.loads(RESULTS.read_text()) if RESULTS.is_file() else []
    kind = ("host", "suite", "frontend", "renderer")
    rows = [one for one in rows if [one[key] for key in kind] != [row[key] for key in kind]] + [row]
    rows.sort(
        key=lambda one: (number(one["host"]), SUITES.index(one["suite"]), number(one["frontend"]), one["renderer"])
    )
    RESULTS.write_text(json.dumps(rows, indent=1) + "\n")
    write_tables(rows)


def number(version: str) -> list[int]:
    """To sort by."""
    return [int(part) for part in re.findall(r"\d+", version)]


def write_tables(rows: list[dict]) -> None:
    """docs/hosts.md, and what the README says of it."""
    lines = [["ComfyUI", "tests", "frontend", "renderer", "passed", "failed", "skipped", "Python", "when"], ["---"] * 9]
    for row in rows:
        where = row["frontend"] or "", row["renderer"] or ""
        counts = [str(row[name]) for name in ("passed", "failed", "skipped")]
        lines.append([row["host"], row["suite"], *where, *counts, row["python"], f"{row['date']}, {row['commit']}"])
    PAGE.write_text(
        "# Hosts\n\nWhat ran in which ComfyUI, in which frontend, and in which of its renderers. Written by `make "
        f"test-host HOST=path/to/ComfyUI`; each row is the last run of its kind.\n\n{markdown(lines)}\n"
    )
    README.write_text(TABLE.sub(lambda found: f"{found[1]}{markdown(summary(rows))}\n{found[2]}", README.read_text()))


def summary(rows: list[dict]) -> list[list[str]]:
    """A line for each ComfyUI and frontend: how many tests passed, of how many."""

    def told(found: list[dict]) -> str:
        passed, failed, skipped = (sum(row[name] for row in found) for name in ("passed", "failed", "skipped"))
        return f"{passed} of {passed + failed + skipped}" if found else ""

    lines = [["ComfyUI", "core, host, server", "frontend", *(f"browser, {name}" for name in RENDERERS)], ["---"] * 5]
    for host in dict.fromkeys(row["host"] for row in rows):
        here = [row for row in rows if row["host"] == host]
        first = told([row for row in here if row["suite"] != "browser"])
        frontends = dict.fromkeys(row["frontend"] for row in here if row["frontend"]) or {"": None}
        for frontend in frontends:
            seen = [row for row in here if row["frontend"] == frontend and frontend]
            cells = [told([row for row in seen if row["renderer"] == renderer]) for renderer in RENDERERS]
            lines.append([host, first, frontend, *cells])
            host, first = "", ""
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("host", nargs="?", type=Path, help="the ComfyUI's folder")
    parser.add_argument("--frontends", nargs="*", default=["own"], help="for the browser suite")
    parser.add_argument("--suites", nargs="*", default=SUITES, choices=SUITES)
    options = parser.parse_args()
    if options.host and not is_host(options.host):
        sys.exit(f"There is no ComfyUI (main.py and comfy/) in {options.host}.")
    host, python, env = prepare(options.host and options.host.resolve())
    code = "import platform; print(platform.python_version())"
    release = subprocess.run([python, "-c", code], check=True, capture_output=True, text=True).stdout.strip()
    known = {"host": version_of(host), "python": release, "date": str(date.today()), "commit": commit(besides=WRITTEN)}
    failed = 0
    for suite in options.suites:
        cases = [("", "", {})]
        if suite == "browser":
            cases = [
                (frontend, renderer, {"COMFYUI_NODES2": switch})
                for frontend in options.frontends
                for renderer, switch in RENDERERS.items()
            ]
        for frontend, renderer, more in cases:
            if frontend not in ("", "own"):
                more["COMFYUI_FRONTEND"] = str(fetch_frontend(python, frontend))
            elif frontend == "own":
                frontend = installed_frontend(python)
            print(f"\n== {known['host']}: {' '.join(filter(None, (suite, frontend, renderer)))}", flush=True)
            counts = run(python, env | more, suite)
            failed += counts["failed"]
            keep({**known, "suite": suite, "frontend": frontend, "renderer": renderer, **counts})
    print("\n" + PAGE.read_text())
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
