"""Write nodes/described.json: the nodes as they look, for a ComfyUI in which they cannot run (see nodes/refusing.py),
and for other languages (see write_locales.py, which it runs).

    python -m tools.describe_nodes

Run it after each change of a node's inputs or outputs; a test says so otherwise.
"""

import json
import tempfile
from pathlib import Path

from tools import write_locales
from tools.comfy_server import ComfyServer
from tools.write_locales import DESCRIBED

KEPT = ("input", "output", "output_name", "output_tooltips", "display_name", "category", "description", "output_node")
OF_THE_HOST = ("persona_name", "file", "sampler_name", "scheduler")  # lists that are another in each ComfyUI


def described(object_info: dict) -> dict:
    """What is kept of /object_info: the pack's nodes."""
    ours = {
        name: {key: node[key] for key in KEPT}
        for name, node in object_info.items()
        if node["python_module"] == "custom_nodes.ComfyUI-Persona"
    }
    for node in ours.values():
        node["input"] = {kind: dict(part) for kind, part in node["input"].items() if kind != "hidden"}
        for part in node["input"].values():
            for key in OF_THE_HOST:
                if key in part:
                    part[key] = ["COMBO", {**part[key][1], "options": []}]
                    part[key][1].pop("pictures", None)
    return ours


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, ComfyServer(Path(folder), cpu=True) as server:
        DESCRIBED.write_text(json.dumps(described(server.object_info()), indent=1) + "\n")
    write_locales.main()


if __name__ == "__main__":
    main()
