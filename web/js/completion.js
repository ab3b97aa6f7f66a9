// Typing < in a prompt offers the words of the personas that this prompt knows.

import { app } from "../../../scripts/app.js"
import { make, portrait } from "./elements.js"
import { nodeOf } from "./inputs.js"
import { find } from "./personas.js"
import { appliesBefore, fileOf, wordOf } from "./placeholders.js"
import { write } from "./prompt_box.js"
import { say } from "./texts.js"

const TYPED = /<[\p{L}\p{N}\p{M}_]*$/u // before the cursor
const list = make("ul", { id: "persona_completion", className: "persona-completion", role: "listbox" })
list.ariaLabel = say("Personas")
let box // the text box that it is open for
let chosen = 0

/** The words that a prompt may hold, with the files of their personas. */
function offered(element) {
    const node = nodeOf(element)
    const applies = node ? appliesBefore(node).applies : []
    return applies.map(apply => ({ word: wordOf(apply), file: fileOf(apply) })).filter(({ word }) => word)
}

function typedIn(element) {
    return element.value.slice(0, element.selectionStart).match(TYPED)?.[0]
}

function close() {
    list.remove()
    for (const attribute of ["aria-activedescendant", "aria-controls"]) box?.removeAttribute(attribute)
    box = undefined
}

function choose(number) {
    chosen = (number + list.children.length) % list.children.length
    for (const [index, item] of [...list.children].entries()) {
        item.ariaSelected = String(index === chosen)
    }
    box.setAttribute("aria-activedescendant", list.children[chosen].id)
}

function insert(word) {
    const element = box
    const end = element.selectionStart
    const start = end - typedIn(element).length
    close()
    write(element, word, start, end)
}

function item({ word, file }, index) {
    const id = `persona_completion_${index}`
    const element = make("li", { id, role: "option", title: file ?? "" }, word)
    element.dataset.word = word
    if (file) find(file).then(persona => persona?.picture && element.prepend(portrait(persona.picture, "")))
    element.addEventListener("pointerdown", event => {
        event.preventDefault() // or the box would lose its cursor
        insert(word)
    })
    return element
}

function open(element) {
    close()
    const typed = typedIn(element)
    const words = typed ? offered(element).filter(({ word }) => word.startsWith(typed) && word !== typed) : []
    if (!words.length) return
    box = element
    list.replaceChildren(...words.map(item))
    const { left, bottom } = element.getBoundingClientRect()
    Object.assign(list.style, { left: `${left}px`, top: `${bottom}px` })
    document.body.append(list)
    box.setAttribute("aria-controls", list.id)
    choose(0)
}

function key(event) {
    if (!box || event.target !== box || event.isComposing) return
    if (event.ctrlKey || event.metaKey || event.altKey || event.shiftKey) return
    const moves = { ArrowDown: () => choose(chosen + 1), ArrowUp: () => choose(chosen - 1), Escape: close }
    const takes = () => insert(list.children[chosen].dataset.word)
    const does = { ...moves, Enter: takes, Tab: takes }[event.key]
    if (!does) return
    event.preventDefault()
    event.stopPropagation()
    does()
}

app.registerExtension({
    name: "comfyuipersona.completion",
    setup() {
        document.addEventListener("input", ({ target }) => {
            if (target.matches?.("textarea")) open(target)
        })
        document.addEventListener("keydown", key, true)
        document.addEventListener("focusout", ({ target }) => {
            if (target === box) close()
        })
    },
})
