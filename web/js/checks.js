// An input that a run would refuse is marked as soon as it is typed, with the sentence that the run would say.

import { api } from "../../../scripts/api.js"
import { app } from "../../../scripts/app.js"
import { everyNode, valueOf } from "./graph.js"
import { hasElement, mark } from "./inputs.js"
import { addLine, isOurs, write } from "./lines.js"
import { watch } from "./watch.js"

const LINE = "persona_wrong"
const CHECKED = ["name", "supercategory", "reference_word", "placeholder", "consent_on", "consent_until"]
const answers = new Map() // by what was asked
let latest = 0 // of the checks that were begun

/** What a run would say of an input's value, "" if nothing. */
async function wrongWith(node, input, value, tokens) {
    const query = `${new URLSearchParams({ node: node.comfyClass, input, value, tokens })}`
    if (!answers.has(query)) {
        const response = await api.fetchApi(`/persona/check?${query}`).catch(() => undefined)
        if (!response?.ok) return ""
        answers.set(query, (await response.json()).wrong)
    }
    return answers.get(query)
}

/** Each input that is checked, with its value. */
function typed() {
    return everyNode().filter(isOurs).flatMap(node => {
        const widgets = (node.widgets ?? []).filter(widget => CHECKED.includes(widget.name))
        return widgets.map(widget => ({ node, widget, value: valueOf(node, widget.name), tokens: tokensFor(node, widget) }))
    })
}

/** How many tokens there are for a word; "" where that is not known, or it is none. */
function tokensFor(node, widget) {
    return widget.name === "supercategory" ? valueOf(node, "tokens") ?? "" : ""
}

async function check() {
    const mine = ++latest
    const wrong = new Map() // the sentences of each node
    for (const { node, widget, value, tokens } of typed()) {
        const sentence = typeof value === "string" ? await wrongWith(node, widget.name, value, tokens) : ""
        if (mine !== latest) return // something else was typed meanwhile
        mark(node, widget, sentence)
        wrong.set(node, [...(wrong.get(node) ?? []), sentence])
    }
    for (const [node, sentences] of wrong) write(node, LINE, sentences.filter(Boolean).join("\n"))
}

app.registerExtension({
    name: "comfyuipersona.checks",
    nodeCreated(node) {
        if (isOurs(node)) addLine(node, LINE, { color: "var(--error-text)" })
    },
    setup() {
        const told = ({ node, widget, value, tokens }) => [node.id, widget.name, value, tokens, hasElement(node, widget)]
        watch(() => typed().map(told), check)
    },
})
