"""What an installation from the registry holds: what git knows, but for what .comfyignore names."""

import shutil
import subprocess
from pathlib import Path

PACK = Path(__file__).resolve().parent.parent


def published() -> list[Path]:
    """The files, relative to the pack's folder."""
    return sorted(set(listed("--cached")) - set(listed("--cached", "--ignored", "--exclude-from=.comfyignore")))


def listed(*options: str) -> list[Path]:
    names = subprocess.run(["git", "ls-files", "-z", *options], cwd=PACK, check=True, capture_output=True, text=True)
    return [Path(name) for name in names.stdout.split("\0") if name and (PACK / name).exists()]


def copy_to(folder: Path) -> Path:
    """The installation as a node pack of that custom_nodes folder."""
    target = folder / "ComfyUI-Persona"
    for file in published():
        (target / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(PACK / file, target / file)
    return target
