// Load Persona and Apply, put into the graph where a LoRA loader would go.

import { app } from "../../../scripts/app.js"
import { FROM_PLAIN } from "./graph.js"

const CARRIED = ["MODEL", "CLIP"]
const GAP = 50
const HEIGHT = 400 // about what Apply needs in Nodes 2.0, which draws nodes taller than they say

function outputOf(node, type) {
    return node.outputs?.findIndex(output => output.type === type) ?? -1
}

function carriesAll(node) {
    return CARRIED.every(type => outputOf(node, type) >= 0)
}

/** The node whose MODEL and CLIP are meant: the selected one, or the only checkpoint loader. */
function chosenCheckpoint(graph) {
    const selected = Object.values(app.canvas.selected_nodes ?? {}).filter(carriesAll)
    if (selected.length === 1) return selected[0]
    const takesModel = node => node.inputs?.some(input => input.type === "MODEL")
    const loaders = graph.nodes.filter(node => carriesAll(node) && !takesModel(node))
    return loaders.length === 1 ? loaders[0] : undefined
}

function setWidget(node, name, value) {
    const widget = node.widgets.find(widget => widget.name === name)
    widget.value = value
    widget.callback?.(value)
}

/** From this place downwards, the first where nothing lies in the way. */
function freePlace(graph, [x, y], width) {
    const above = LiteGraph.NODE_TITLE_HEIGHT
    const crosses = ({ pos, size }) =>
        pos[0] < x + width && x < pos[0] + size[0] && pos[1] - above < y + HEIGHT && y - above < pos[1] + size[1]
    for (let node; (node = graph.nodes.find(crosses));) y = node.pos[1] + node.size[1] + above + GAP
    return [x, y]
}

/** Let Apply stand between a node and all that takes its output. */
function putBetween(graph, source, apply, type) {
    for (const id of [...(source.outputs[outputOf(source, type)].links ?? [])]) {
        const link = graph.getLink(id)
        const target = graph.getNodeById(link.target_id)
        if (target && !FROM_PLAIN.includes(target.type)) target.connectByTypeOutput(link.target_slot, apply, type)
    }
    apply.connectByTypeOutput(type.toLowerCase(), source, type)
}

/** Add Load Persona and Apply for a persona, below the checkpoint or at a place; false if MODEL and CLIP were left
 * open. */
export async function addNodes(name, placeholder, place) {
    const graph = app.canvas.graph
    const source = chosenCheckpoint(graph)
    const load = LiteGraph.createNode("PersonaLoad")
    const apply = LiteGraph.createNode("PersonaApply")
    const [left, top, width, height] = app.canvas.visible_area
    const start = place ?? (source ? [source.pos[0], source.pos[1]] : [left + width / 3, top + height / 3])
    const [x, y] = freePlace(graph, start, load.size[0] + GAP + apply.size[0])
    load.pos = [x, y]
    apply.pos = [x + load.size[0] + GAP, y]

    graph.beforeChange()
    graph.add(load)
    graph.add(apply)
    setWidget(load, "persona_name", name)
    setWidget(apply, "placeholder", placeholder)
    apply.connectByTypeOutput("persona", load, "PERSONA")
    if (source) for (const type of CARRIED) putBetween(graph, source, apply, type)
    graph.afterChange()

    const seen = left < x && x < left + width && top < y && y < top + height
    if (!seen) app.canvas.centerOnNode(apply)
    const known = load.widgets.find(widget => widget.name === "persona_name").options.values
    if (!known.includes(name)) await app.refreshComboInNodes() // it was learned since the page was opened
    return Boolean(source)
}
