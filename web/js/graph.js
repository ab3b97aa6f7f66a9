// What lies where in the open graph: the values of a node's widgets, and the nodes before it.

import { app } from "../../../scripts/app.js"

export const LEARNING = ["PersonaLearn", "PersonaKVTokens"] // nodes that give what they learned
export const FROM_PLAIN = [...LEARNING, "PersonaStagePartition"] // nodes that look at the checkpoint as it is

/** The value of a node's widget as it will be queued; undefined where there is none, or a link gives it. */
export function valueOf(node, name) {
    const linked = node.inputs?.some(input => input.widget?.name === name && input.link != null)
    return linked ? undefined : node.widgets?.find(widget => widget.name === name)?.value
}

/** The node that gives an input its value. None where nothing is linked; undefined where it lies outside the graph. */
export function giverOf(node, name) {
    const input = node.inputs?.find(one => one.name === name)
    if (input?.link == null) return null
    return node.graph.getNodeById(node.graph.getLink(input.link)?.origin_id) ?? undefined
}

function isOpaque(node) {
    if (node.subgraph || node.comfyClass?.startsWith("workflow")) return true // holds nodes of its own
    return node.isVirtualNode && !node.inputs?.some(input => input.link != null) // gets a value by name
}

/** Of a node that passes on something of this type the inputs by which it comes, else all. */
function inputsFor(node, type) {
    const inputs = node.inputs ?? []
    const same = inputs.filter(input => input.type === type)
    return same.length ? same : inputs
}

/** All nodes through which what an input takes has come, nearest first, and whether some of it is not seen here. */
export function before(node, name) {
    const { type } = node.inputs.find(input => input.name === name)
    const found = new Set()
    let outside = false
    const next = [giverOf(node, name)]
    while (next.length) {
        const one = next.shift()
        outside ||= one === undefined
        if (!one || found.has(one)) continue
        found.add(one)
        outside ||= isOpaque(one)
        next.push(...inputsFor(one, type).map(input => giverOf(one, input.name)))
    }
    return { nodes: [...found], outside }
}

/** The graph of the whole workflow, also while one of its subgraphs is open. */
export function wholeGraph() {
    return app.rootGraph ?? app.graph
}

/** All nodes of a graph and of the subgraphs in it. */
export function everyNode(graph = wholeGraph()) {
    return (graph?.nodes ?? []).flatMap(node => [node, ...(node.subgraph ? everyNode(node.subgraph) : [])])
}

/** What stands in prompts for a persona of this name: as persona_core/persona.py has it. */
export function placeholderOf(name) {
    const letters = name.trim().replace(/\.safetensors$/, "").toLowerCase().normalize("NFC")
    const word = letters.replace(/[^\p{L}\p{N}\p{M}]+/gu, " ").trim().replaceAll(" ", "_")
    return /\p{L}/u.test(word) ? `<${word}>` : `<persona${word && "_"}${word}>`
}

/** The nodes that take what a node gives of a type; undefined for what lies outside the graph. */
export function takersOf(node, type) {
    const ids = (node.outputs ?? []).filter(output => output.type === type).flatMap(output => output.links ?? [])
    return ids.map(id => node.graph.getNodeById(node.graph.getLink(id)?.target_id))
}
