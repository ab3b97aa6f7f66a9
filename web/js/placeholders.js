// Which word stands for whom: in the title of each Apply, and marked where a prompt and an Apply do not meet.

import { app } from "../../../scripts/app.js"
import {
    before, everyNode, FROM_PLAIN, giverOf, LEARNING, placeholderOf, takersOf, valueOf, wholeGraph,
} from "./graph.js"
import { hasElement, mark } from "./inputs.js"
import { addLine, write } from "./lines.js"
import { placeholderIn } from "./personas.js"
import { say } from "./texts.js"
import { watch } from "./watch.js"

const APPLY = "PersonaApply"
const LINE = "persona_unused"
const WORD = /<\p{L}[\p{L}\p{N}\p{M}_]*>/gu
// Letters that a word may end at: of scripts that put no space between words.
const SCRIPTS = ["Han", "Hiragana", "Katakana", "Thai", "Lao", "Khmer", "Myanmar", "Tibetan"]
const UNSPACED = new RegExp(`[${SCRIPTS.map(script => `\\p{sc=${script}}`).join("")}]`, "u")
const given = new WeakMap() // the titles that Applies have from us
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
    if (typeof typed !== "string") return undefined
    return typed.trim() ? typed : ownWord(apply)
}

/** The file of the persona of an Apply, if it comes from Load Persona. */
export function fileOf(apply) {
    const giver = giverOf(apply, "persona")
    return giver?.comfyClass === "PersonaLoad" ? valueOf(giver, "persona_name") : undefined
}

/** The Applies through which the CLIP of a node has come, and whether there may be others that are not seen. */
export function appliesBefore(node) {
    const unlinked = { nodes: [], outside: true }
    const clips = clipsOf(node).map(input => (input.link == null ? unlinked : before(node, input.name)))
    const nodes = clips.flatMap(one => one.nodes).filter(one => one.comfyClass === APPLY && one.mode === RUNS)
    return { applies: [...new Set(nodes)], outside: clips.some(one => one.outside) }
}

function clipsOf(node) {
    return (node.inputs ?? []).filter(input => input.type === "CLIP")
}

function texts(node) {
    const shown = widget => TEXT.includes(widget.type) && typeof valueOf(node, widget.name) === "string"
    return (node.widgets ?? []).filter(shown)
}

/** Each prompt of the graph: its node, its widgets of text, the words that stand for somebody in it. */
function prompts(nodes) {
    const others = [APPLY, ...FROM_PLAIN]
    return nodes
        .filter(node => node.mode === RUNS && !node.subgraph && !others.includes(node.comfyClass))
        .filter(node => clipsOf(node).length && texts(node).length)
        .map(node => ({ node, widgets: texts(node), ...appliesBefore(node) }))
}

function standsAlone(letter) {
    return !/[\p{L}\p{N}]/u.test(letter) || UNSPACED.test(letter)
}

/** Whether a word is in a text, as persona_core/host/tokenizer.py finds it there. */
function holds(text, word) {
    const letters = [...word]
    const free = (letter, beside) => standsAlone(letter) || !/[\p{L}\p{N}_]/u.test(beside ?? "")
    const parts = text.split(word)
    const ends = (before, after) => free(letters[0], [...before].at(-1)) && free(letters.at(-1), [...after][0])
    return parts.slice(1).some((after, i) => ends(parts[i], after))
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
    const hidden = all.some(prompt => prompt.outside) || reached.some(linksText) || !goesOnlyTo(apply, all)
    if (!word || hidden || apply.graph !== wholeGraph()) return ""
    if (reached.some(prompt => prompt.widgets.some(widget => holds(widget.value, word)))) return ""
    return reached.length
        ? say("No prompt holds %word%: write it where the person belongs.", { word })
        : say("No prompt gets this CLIP: wire it to CLIP Text Encode.")
}

/** Whether all that takes a node's CLIP, through others that pass it on, is one of these prompts. */
function goesOnlyTo(node, all, passed = new Set()) {
    if (passed.has(node)) return true
    passed.add(node)
    return takersOf(node, "CLIP").every(taker => {
        if (!taker || taker.subgraph) return false
        if (taker.mode !== RUNS || all.some(prompt => prompt.node === taker)) return true
        return taker.outputs?.some(output => output.type === "CLIP") && goesOnlyTo(taker, all, passed)
    })
}

/** Whether a text comes to a prompt over a link. */
function linksText({ node }) {
    return node.inputs?.some(input => input.type === "STRING" && input.link != null)
}

function entitle(apply) {
    const usual = apply.constructor.title
    if (apply.title !== usual && apply.title !== given.get(apply)) return // the artist's own
    const word = wordOf(apply)
    const title = word ? `${word}: ${usual}` : usual // the word first: narrow nodes cut titles off
    if (apply.title !== title) apply.title = title
    given.set(apply, title)
}

/** The title is not saved: it follows from the rest, and would make each opened workflow a changed one. */
function untitled(node) {
    const { onSerialize } = node
    node.onSerialize = function (saved) {
        onSerialize?.call(this, saved)
        if (saved.title === given.get(node)) delete saved.title
    }
}

function seen() {
    const nodes = everyNode()
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
        if (node.comfyClass !== APPLY) return
        addLine(node, LINE, { color: "var(--error-text)" })
        untitled(node)
    },
    setup() {
        const told = ({ applies, all }) => [
            app.canvas?.graph?.id,
            applies.map(apply => [apply.id, apply.mode, apply.title, wordOf(apply)]),
            all.map(({ node, widgets, applies: known }) => {
                const shown = widgets.map(one => [one.value, hasElement(node, one)])
                return [node.id, shown, known.map(one => one.id)]
            }),
        ]
        watch(() => told(seen()), show)
    },
})
