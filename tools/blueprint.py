"""The blueprint: learning and painting as one node, with the photo, the name and the prompt outside.

The node library lists what is in a pack's folder subgraphs, under the file's name. The real frontend makes the
subgraph, from the first workflow as it is open in the editor.
"""

import json
import re
import uuid

from playwright.sync_api import Page

from tools.environment import PACK

BLUEPRINT = PACK / "subgraphs/Persona, photo + prompt to picture.json"
# Without <ann>: editors show it as HTML.
DESCRIPTION = "Learns a persona from a photo, once, and paints it wherever its placeholder stands in the prompt."
ALIASES = ["persona", "face", "likeness", "identity", "textual inversion"]
# Name outside, node inside, its widget.
WIDGETS = [
    ("name", "PersonaLearn", "name"),
    ("prompt", "CLIPTextEncode", "text"),
    ("seed", "KSampler", "seed"),
    ("checkpoint", "CheckpointLoaderSimple", "ckpt_name"),
]

# Load Image and Save Image stay outside: their links become the subgraph's input and output. What is returned is what
# the editor saves when somebody publishes the node.
TO_BLUEPRINT = """([name, widgets]) => {
    const outside = ["MarkdownNote", "LoadImage", "SaveImage"]
    const inside = app.graph.nodes.filter(node => !outside.includes(node.type))
    const {subgraph, node} = app.graph.convertToSubgraph(new Set(inside))
    subgraph.name = node.title = name
    subgraph.renameInput(subgraph.inputs[0], "photo")
    subgraph.renameOutput(subgraph.outputs[0], "picture")
    for (const [label, type, widget] of widgets) {
        const owner = subgraph.nodes.find(one => one.type === type)
        const slot = owner.inputs.find(input => input.widget?.name === widget)
        subgraph.addInput(label, slot.type).connect(slot, owner)
    }
    node.properties.proxyWidgets = widgets.map(([label]) => ["-1", label])  // not all that the editor recommends
    for (const one of subgraph.nodes)  // as in tools/graph_workflows.py
        if (one.title.endsWith(`: ${one.constructor.title}`)) one.title = one.constructor.title
    node.pos = [0, 0]
    node.setSize([400, 260])
    const {nodes, subgraphs} = app.canvas._serializeItems([node])
    return JSON.stringify({revision: 0, last_node_id: node.id, last_link_id: 0, nodes, links: [], version: 0.4,
                           definitions: {subgraphs}})
}"""


def write_blueprint(page: Page) -> None:
    saved = page.evaluate(TO_BLUEPRINT, [BLUEPRINT.stem, WIDGETS])
    for number, drawn in enumerate(dict.fromkeys(re.findall(r"[0-9a-f]{8}-[0-9a-f-]{27}", saved))):
        saved = saved.replace(drawn, str(uuid.uuid5(uuid.NAMESPACE_URL, f"ComfyUI-Persona/blueprint/{number}")))
    blueprint = json.loads(saved) | {"extra": {"BlueprintDescription": DESCRIPTION, "BlueprintSearchAliases": ALIASES}}
    BLUEPRINT.parent.mkdir(exist_ok=True)
    BLUEPRINT.write_text(json.dumps(blueprint, separators=(",", ":")) + "\n")  # half as large as with indents
