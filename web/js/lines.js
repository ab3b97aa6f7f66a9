// A line of text on a node: of what it said, of what is wrong with an input. Text only, never HTML: it may hold names
// from a shared workflow or file.

const STYLE = {
    boxSizing: "border-box",
    padding: "4px 8px",
    overflow: "auto",
    whiteSpace: "pre-wrap",
    overflowWrap: "anywhere",
    fontSize: "12px",
    lineHeight: "1.4",
    color: "var(--input-text)",
    userSelect: "text",
}

/** Whether a node is one of the pack's. */
export function isOurs(node) {
    return node?.comfyClass?.startsWith("Persona") ?? false
}

/** Give a node a line: when it is created, because Nodes 2.0 of older editors draws no widget that comes later. */
export function addLine(node, name, style = {}) {
    const element = document.createElement("div")
    Object.assign(element.style, STYLE, style)
    element.dataset.testid = name
    element.setAttribute("role", "status")
    element.hidden = true
    const widget = node.addDOMWidget(name, name, element, {
        serialize: false,
        getMinHeight: () => (element.hidden ? 0 : 64),
        getMaxHeight: () => (element.hidden ? 0 : 120),
    })
    widget.serialize = false // it belongs to the run, not to the workflow
    return element
}

/** Show a text in a node's line of that name, where it has one; "" hides it. */
export function write(node, name, text) {
    const element = node?.widgets?.find(widget => widget.name === name)?.element
    if (!element || element.textContent === text) return
    element.textContent = text
    element.hidden = !text
    fit(node)
}

/** Let a node grow to what its widgets need by now. */
export function fit(node) {
    const [width, height] = node.size
    const needed = node.computeSize()[1]
    if (height < needed) node.setSize([width, needed])
    node.setDirtyCanvas?.(true, true)
}
