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

/** Whether it has one by now. Nodes 2.0 makes it a while after the node, and its text a while after that; a mark then
 * belongs there. */
export function hasElement(node, widget) {
    return Boolean(elementOf(node, widget))
}

const marked = new WeakSet()

/** Whether there is something to do: what other packs did to it is theirs. */
function changes(shown, wrong) {
    const had = marked.delete(shown)
    if (wrong) marked.add(shown)
    return had || Boolean(wrong)
}

function markElement(element, wrong) {
    if (!changes(element, wrong)) return
    element.ariaInvalid = wrong ? "true" : null
    element.style.outline = wrong ? "1px solid var(--error-text)" : ""
    element.title = wrong
}

function markLabel(widget, wrong) {
    if (!changes(widget, wrong)) return
    const label = widget.label?.replace(SIGN, "") ?? widget.name
    widget.label = wrong ? SIGN + label : label === widget.name ? undefined : label
}

/** Show at a widget that a sentence tells what is wrong with it; "" for nothing. */
export function mark(node, widget, wrong) {
    if (node.graph !== app.canvas?.graph) return // another one is open
    const element = elementOf(node, widget)
    if (element) markElement(element, wrong)
    markLabel(widget, element ? "" : wrong)
}
