// What a node said stays readable after the job: its own line on the node until it runs again, a warning as a toast
// until it is closed.

import { api } from "../../../scripts/api.js"
import { app } from "../../../scripts/app.js"
import { wholeGraph } from "./graph.js"
import { addLine, isOurs, write } from "./lines.js"
import { say } from "./texts.js"

const LINE = "persona_notice" // in a node's ui output, and the name of its widget
const WARNING = "persona.notice"
const PROGRESS = "persona.progress" // of a node in a subgraph, whose status text editors do not show
const open = new Map() // warnings that were shown, by who said what

/** The node of an id: "7:3" is node 3 of the subgraph that node 7 holds, or of the subgraph that is called so. */
function nodeAt(id) {
    const root = wholeGraph()
    let graph = root
    let node
    for (const part of String(id).split(":")) {
        const named = root?.subgraphs?.get(part)
        node = named ? undefined : graph?.getNodeById(Number(part))
        graph = named ?? node?.subgraph
    }
    return node
}

/** Outputs of earlier runs, as the editor keeps them for each workflow. */
function writeAll(outputs) {
    for (const [id, output] of Object.entries(outputs ?? {})) {
        const text = output?.[LINE]?.join("\n")
        if (text) write(nodeAt(id), LINE, text)
    }
}

function warn({ node, severity, text }) {
    const toast = app.extensionManager.toast
    const message = { severity, summary: nodeAt(node)?.title ?? say("Persona"), detail: text }
    const key = `${message.summary}\n${text}`
    if (open.has(key)) toast.remove(open.get(key)) // a queue of a hundred prompts is told once
    open.set(key, message)
    toast.add(message)
}

app.registerExtension({
    name: "comfyuipersona.notices",
    nodeCreated(node) {
        if (isOurs(node)) addLine(node, LINE)
    },
    setup() {
        api.addEventListener(WARNING, ({ detail }) => warn(detail))
        api.addEventListener(PROGRESS, ({ detail }) => write(nodeAt(detail.node), LINE, detail.text))
        api.addEventListener("executing", ({ detail }) => {
            if (detail != null) write(nodeAt(detail), LINE, "")
        })
        api.addEventListener("executed", ({ detail }) => {
            const text = detail.output?.[LINE]?.join("\n")
            if (text) write(nodeAt(detail.display_node ?? detail.node), LINE, text)
        })
    },
    afterConfigureGraph() { // another workflow's tab was open meanwhile
        writeAll(app.nodeOutputs)
    },
    onNodeOutputsUpdated: writeAll, // some editors get them back only now
})
