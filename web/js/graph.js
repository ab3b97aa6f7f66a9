// What lies where in the open graph: the values of a node's widgets, and the nodes before it.

/** The value of a node's widget as it will be queued; undefined where there is none, or a link gives it. */
export function valueOf(node, name) {
    const linked = node.inputs?.some(input => input.widget?.name === name && input.link != null)
    return linked ? undefined : node.widgets?.find(widget => widget.name === name)?.value
}

function linkAt(graph, id) {
    return graph.links?.get?.(id) ?? graph.links?.[id]
}

/** The node that gives an input its value. None where nothing is linked; undefined where it lies outside the graph. */
export function giverOf(node, name) {
    const input = node.inputs?.find(one => one.name === name)
    if (input?.link == null) return null
    return node.graph.getNodeById(linkAt(node.graph, input.link)?.origin_id) ?? undefined
}

/** All nodes from which an input is made, nearest first, and whether some of it comes from outside this graph. */
export function before(node, name) {
    const found = new Set()
    let outside = false
    const next = [giverOf(node, name)]
    while (next.length) {
        const one = next.shift()
        outside ||= one === undefined
        if (!one || found.has(one)) continue
        found.add(one)
        outside ||= one.isVirtualNode && !one.inputs?.some(input => input.link != null) // as what gets a value by name
        next.push(...(one.inputs ?? []).map(input => giverOf(one, input.name)))
    }
    return { nodes: [...found], outside }
}

/** All nodes of a graph and of the subgraphs in it. */
export function everyNode(graph) {
    return (graph?.nodes ?? []).flatMap(node => [node, ...everyNode(node.subgraph)])
}

/** What stands in prompts for a persona of this name: as persona_core/persona.py has it. */
export function placeholderOf(name) {
    const word = name.toLowerCase().replace(/[^\p{L}\p{N}_]+/gu, "_").replace(/^_+|_+$/g, "")
    return /\p{L}/u.test(word) ? `<${word}>` : `<persona${word && "_"}${word}>`
}
