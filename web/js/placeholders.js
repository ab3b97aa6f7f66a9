// Which word stands for whom: in the title of each Apply, and marked where a prompt and an Apply do not meet.

import { app } from "../../../scripts/app.js"
import { before, everyNode, giverOf, placeholderOf, valueOf } from "./graph.js"
import { mark } from "./inputs.js"
import { addLine, write } from "./lines.js"
import { placeholderIn } from "./personas.js"
import { say } from "./texts.js"
import { watch } from "./watch.js"

const APPLY = "PersonaApply"
const LINE = "persona_unused"
const LEARNING = ["PersonaLearn", "PersonaKVTokens"]
const WORD = /<\p{L}[\p{L}\p{N}_]*>/gu
const TEXT = ["customtext", "text", "string", "textarea"] // types of widgets
const RUNS = 0 // a node's mode, if it is neither muted nor bypassed

/** The word of a persona that is linked to an Apply; undefined where that is not known. */
function ownWord(apply) {
    const giver = giverOf(apply, "persona")
    if (LEARNING.includes(giver?.comfyClass)) {
        const name = valueOf(giver, "name")
        return typeof name === "string" ? placeholderOf(name) : undefined
    }
    if (giver?.comfyClass !== "PersonaLoad") return undefined
    const file = valueOf(giver, "persona_name")
    return typeof file === "string" && file ? placeholderIn(file) : undefined
}

/** The word that stands for an Apply's persona in prompts; undefined where that is not known. */
export function wordOf(apply) {
    const typed = valueOf(apply, "placeholder")
    return typed === undefined ? undefined : typed.trim() ? typed : ownWord(apply)
}

/** The file of the persona of an Apply, if it comes from Load Persona. */
export function fileOf(apply) {
    const giver = giverOf(apply, "persona")
    return giver?.comfyClass === "PersonaLoad" ? valueOf(giver, "persona_name") : undefined
}

/** The Applies through which the CLIP of a node has come, and whether there may be others that are not seen. */
export function appliesBefore(node) {
    const clips = clipsOf(node).map(input => (input.link == null ? { nodes: [], outside: true } : before(node, input.name)))
    const nodes = clips.flatMap(one => one.nodes).filter(one => one.comfyClass === APPLY && one.mode === RUNS)
    return { applies: [...new Set(nodes)], outside: clips.some(one => one.outside) }
}

function clipsOf(node) {
    return (node.inputs ?? []).filter(input => input.type === "CLIP")
}

function texts(node) {
    return (node.widgets ?? []).filter(widget => typeof widget.value === "string" && TEXT.includes(widget.type))
}

/** Each prompt of the graph: its node, its widgets of text, the words that stand for somebody in it. */
function prompts(nodes) {
    const others = [APPLY, ...LEARNING, "PersonaStagePartition"]
    return nodes
        .filter(node => node.mode === RUNS && !others.includes(node.comfyClass))
        .filter(node => clipsOf(node).length && texts(node).length)
        .map(node => ({ node, widgets: texts(node), ...appliesBefore(node) }))
}

function holds(text, word) {
    const spaced = /^[\p{L}\p{N}_]/u.test(word) || /[\p{L}\p{N}_]$/u.test(word)
    const parts = text.split(word)
    if (!spaced) return parts.length > 1
    return parts.slice(1).some((after, i) => !/[\p{L}\p{N}_]$/u.test(parts[i]) && !/^[\p{L}\p{N}_]/u.test(after))
}

/** What is wrong with a text: words in it for whom no Apply before it stands. */
function unknown(text, { applies, outside }) {
    const words = applies.map(wordOf)
    if (outside || words.includes(undefined)) return ""
    const missing = [...new Set(text.match(WORD))].filter(word => !words.includes(word))
    if (!missing.length) return ""
    const names = { missing: missing.join(", "), known: words.join(", ") }
    return words.length
        ? say("Nobody here is %missing%. The Apply before this prompt knows %known%.", names)
        : say("Nobody here is %missing%. No Apply is before this prompt.", names)
}

/** What is wrong with an Apply: nobody asks for its persona. */
function unused(apply, all) {
    const word = wordOf(apply)
    const reached = all.filter(prompt => prompt.applies.includes(apply))
    const hidden = all.some(prompt => prompt.outside) || reached.some(linksText)
    if (!word || hidden || apply.graph !== (app.rootGraph ?? app.graph)) return ""
    if (reached.some(prompt => prompt.widgets.some(widget => holds(widget.value, word)))) return ""
    if (!reached.length) return leads(apply) ? "" : say("No prompt gets this CLIP: wire it to CLIP Text Encode.")
    return say("No prompt holds %word%: write it where the person belongs.", { word })
}

/** Whether an Apply's CLIP goes somewhere; that may be to a prompt by ways that are not seen. */
function leads(apply) {
    return apply.outputs.some(output => output.type === "CLIP" && output.links?.length)
}

/** Whether a text comes to a prompt over a link. */
function linksText({ node }) {
    return node.inputs?.some(input => input.type === "STRING" && input.link != null)
}

function entitle(apply) {
    const usual = apply.constructor.title
    const word = wordOf(apply)
    const title = word ? `${word}: ${usual}` : usual // the word first: narrow nodes cut titles off
    const ours = apply.title === usual || apply.title.endsWith(`: ${usual}`)
    if (ours && apply.title !== title) apply.title = title
}

function seen() {
    const nodes = everyNode(app.rootGraph ?? app.graph)
    const applies = nodes.filter(node => node.comfyClass === APPLY)
    return { applies, all: applies.length ? prompts(nodes) : [] }
}

function show() {
    const { applies, all } = seen()
    for (const apply of applies) {
        entitle(apply)
        write(apply, LINE, apply.mode === RUNS ? unused(apply, all) : "")
    }
    for (const prompt of all) for (const one of prompt.widgets) mark(prompt.node, one, unknown(one.value, prompt))
}

app.registerExtension({
    name: "comfyuipersona.placeholders",
    nodeCreated(node) {
        if (node.comfyClass === APPLY) addLine(node, LINE, { color: "var(--error-text)" })
    },
    setup() {
        const told = ({ applies, all }) => [
            applies.map(apply => [apply.id, apply.mode, apply.title, wordOf(apply)]),
            all.map(({ node, widgets, applies }) => [node.id, widgets.map(one => one.value), applies.map(one => one.id)]),
        ]
        watch(() => told(seen()), show)
    },
})
