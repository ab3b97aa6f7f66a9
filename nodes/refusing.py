"""The nodes as they look, for a ComfyUI in which they cannot run: each run ends in a sentence that says why.

Nothing of the host is imported, and the older kind of node is used, which every ComfyUI knows.
"""

import json
from pathlib import Path

DESCRIBED = Path(__file__).with_name("described.json")  # written by tools/describe_nodes.py


class CannotRunHere(RuntimeError):
    """This ComfyUI lacks what the pack needs."""


def nodes(why: str) -> tuple[dict[str, type], dict[str, str]]:
    """NODE_CLASS_MAPPINGS and NODE_DISPLAY_NAME_MAPPINGS of nodes that end in this sentence."""
    described = json.loads(DESCRIBED.read_text())
    classes = {name: refusing(name, node, why) for name, node in described.items()}
    return classes, {name: node["display_name"] for name, node in described.items()}


def refusing(name: str, node: dict, why: str) -> type:
    """A node with these inputs and outputs that cannot run. node: as `describe_nodes` wrote it."""

    def run(self, **inputs):
        raise CannotRunHere(why)

    def take_anything(cls, **inputs):
        return True  # or a list that is shorter here would be what the artist is told of

    inputs = {kind: {key: as_input(one) for key, one in part.items()} for kind, part in node["input"].items()}
    return type(
        name,
        (),
        {
            "INPUT_TYPES": classmethod(lambda cls: inputs),
            "RETURN_TYPES": tuple(node["output"]),
            "RETURN_NAMES": tuple(node["output_name"]),
            "OUTPUT_TOOLTIPS": tuple(node["output_tooltips"]),
            "FUNCTION": "run",
            "CATEGORY": node["category"],
            "DESCRIPTION": node["description"],
            "OUTPUT_NODE": node["output_node"],
            "VALIDATE_INPUTS": classmethod(take_anything),
            "run": run,
        },
    )


def as_input(described: list) -> tuple:
    """An input as nodes of the older kind give it: of a list, its choices stand for the kind."""
    kind, options = described
    return (options["options"] if kind == "COMBO" else kind, options)
