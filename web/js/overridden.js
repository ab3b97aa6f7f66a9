// A widget that another one leaves without a say tells so on its node.

import { app } from "../../../scripts/app.js"
import { everyNode, valueOf } from "./graph.js"
import { addLine, isOurs, write } from "./lines.js"
import { say } from "./texts.js"
import { watch } from "./watch.js"

const LINE = "persona_overridden"
const OWN = ["steps", "learning_rate", "batch_size"] // 0 is the preset's
// Whether inputs do nothing, by the values of a node's others.
const IDLE = [
    {
        inputs: ["minutes"],
        idle: of => (of.preset ?? "auto") !== "auto" || of.steps,
        because: name => say("%name% is for the preset auto without steps.", { name }),
    },
    {
        inputs: ["attention_tokens", "attention_reduction", "reference_word"],
        idle: of => of.attention_weight === 0,
        because: name => say("%name% does nothing while attention_weight is 0.", { name }),
    },
]

function learns(node) {
    return isOurs(node) && node.widgets?.some(widget => widget.name === "preset")
}

function values(node) {
    return Object.fromEntries(node.widgets.map(widget => [widget.name, valueOf(node, widget.name)]))
}

/** What an input is when nobody has touched it. */
function usual(node, name) {
    const { required, optional } = node.constructor.nodeData?.input ?? {}
    return { ...required, ...optional }[name]?.[1]?.default
}

function sentences(node) {
    const of = values(node)
    const own = OWN.filter(name => of[name]).map(name => `${name} ${of[name]}`)
    const first = own.length ? [say("Instead of what the preset says: %own%.", { own: own.join(", ") })] : []
    if (of.preset === "auto" && of.steps) first.push(say("Nothing is measured."))
    const idle = IDLE.filter(rule => rule.idle(of)).flatMap(({ inputs, because }) =>
        inputs.filter(name => of[name] !== undefined && of[name] !== usual(node, name)).map(because),
    )
    return [...first, ...idle].join("\n")
}

function learning() {
    return everyNode().filter(learns)
}

app.registerExtension({
    name: "comfyuipersona.overridden",
    nodeCreated(node) {
        if (learns(node)) addLine(node, LINE)
    },
    setup() {
        watch(
            () => learning().map(node => [node.id, sentences(node)]),
            () => learning().forEach(node => write(node, LINE, sentences(node))),
        )
    },
})
