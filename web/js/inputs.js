// A node's inputs as the page draws them: elements in Nodes 2.0 and for texts of several lines, else only on the
// canvas.

import { app } from "../../../scripts/app.js"

const SIGN = "⚠ "

/** The node of the open graph to whom an element on the page belongs. */
export function nodeOf(element) {
    const graph = app.canvas?.graph ?? app.graph
    const drawn = element.closest("[data-node-id]")
    if (drawn) return graph.getNodeById(Number(drawn.dataset.nodeId))
    return graph.nodes.find(node => node.widgets?.some(widget => widget.element?.contains(element)))
}

/** The element in which a widget's text is typed, if the page has one. */
function elementOf(node, widget) {
    const drawn = document.querySelector(`[data-node-id="${CSS.escape(node.id)}"]`)
    if (!drawn) return widget.element?.matches?.("textarea") ? widget.element : undefined
    const typed = [...drawn.querySelectorAll("input, textarea")]
    const called = typed.find(one => [widget.name, widget.label].includes(one.ariaLabel))
    return called ?? typed.find(one => one.value === widget.value)
}

const marked = new WeakSet()

/** Show at a widget that a sentence tells what is wrong with it; "" for nothing. */
export function mark(node, widget, wrong) {
    if (node.graph !== app.canvas?.graph) return // another one is open
    const element = elementOf(node, widget)
    const shown = element ?? widget
    if (wrong) marked.add(shown)
    else if (!marked.delete(shown)) return // what other packs did to it is theirs
    if (element) {
        element.ariaInvalid = wrong ? "true" : null
        element.style.outline = wrong ? "1px solid var(--error-text)" : ""
        element.title = wrong
    } else {
        const label = widget.label?.replace(SIGN, "") ?? widget.name
        widget.label = wrong ? SIGN + label : label === widget.name ? undefined : label
    }
}
