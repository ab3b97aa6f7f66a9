// One persona in the gallery: what it looks like, what it is, what can be done with it.

import { addNodes } from "./add_nodes.js"
import { iconButton, make, portrait } from "./elements.js"
import { caption, metadata } from "./personas.js"
import { insert } from "./prompt_box.js"
import { say } from "./texts.js"
import { tell } from "./toasts.js"

/** Add the nodes and say what is left to do. */
export async function addToGraph(name, placeholder, place) {
    if (await addNodes(name, placeholder, place)) return
    tell(say("Connect a checkpoint's MODEL and CLIP to Apply. If its loader is selected first, that is done for you."))
}

/** A card, whose facts come once it is seen. older: the cards of its older copies, which it folds. */
export function card(persona, older = []) {
    const facts = make("div", { className: "persona-facts" })
    const buttons = make("div", { className: "persona-buttons" })
    const title = make("h3", { title: persona.title }, persona.title)
    const picture = portrait(persona.picture, persona.title)
    const own = make("article", { className: "persona-card" }, picture, title, facts, buttons)
    own.ariaLabel = persona.title
    own.addEventListener("persona.seen", () => fill(persona, facts, buttons))
    if (older.length) own.append(olderButton(older))
    return own
}

async function fill(persona, facts, buttons) {
    try {
        const read = await metadata(persona)
        facts.replaceChildren(...caption(persona, read).map(line => make("div", {}, line)))
        buttons.replaceChildren(...actions(persona, read, facts))
    } catch {
        facts.replaceChildren(say("This file cannot be read as a persona."))
    }
}

function actions(persona, read, facts) {
    const { placeholder } = read
    const write = make("button", { type: "button" }, placeholder)
    write.title = write.ariaLabel = say("Insert %placeholder% at the prompt's cursor", { placeholder })
    write.onclick = () => insert(placeholder) || tell(say("Click into a prompt first, where the persona belongs."))
    const add = iconButton("pi-plus", say("Add Load Persona and Apply"), () => addToGraph(persona.name, placeholder))
    const info = iconButton("pi-info-circle", say("Info"), () => {
        const open = info.ariaExpanded !== "true"
        info.ariaExpanded = String(open)
        if (open) facts.after(details(persona, read))
        else facts.nextElementSibling.remove()
        facts.parentElement.classList.toggle("persona-wide", open)
    })
    info.ariaExpanded = "false"
    return [write, add, info]
}

function details(persona, { format, settings, losses, consent, ...read }) {
    const agreed = Object.entries(consent).map(([name, value]) => [`consent ${name}`, value])
    const known = { file: persona.name, ...read, ...Object.fromEntries(agreed), ...settings }
    const list = make("dl", { className: "persona-details" })
    for (const [name, value] of Object.entries(known)) {
        const text = typeof value === "object" ? JSON.stringify(value) : String(value)
        list.append(make("dt", {}, name), make("dd", {}, text))
    }
    return list
}

function olderButton(older) {
    const label = older.length === 1 ? say("1 older copy") : say("%count% older copies", { count: older.length })
    const button = make("button", { type: "button", className: "persona-older" }, label)
    const fold = folded => {
        button.ariaExpanded = String(!folded)
        for (const one of older) one.hidden = folded
    }
    button.onclick = () => fold(button.ariaExpanded === "true")
    fold(true)
    return button
}
