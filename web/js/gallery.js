// The sidebar's gallery: a card for each persona, by folder, with older copies folded behind the newest.

import { app } from "../../../scripts/app.js"
import { card } from "./card.js"
import { iconButton, make } from "./elements.js"
import { changes, list, NO_LIST } from "./personas.js"
import { say } from "./texts.js"

const cards = make("div", { className: "persona-list" })
const search = make("input", { type: "search", placeholder: say("Search"), oninput: filter })
search.ariaLabel = say("Search personas")
const refresh = iconButton("pi-refresh", say("Refresh"), () => app.refreshComboInNodes())
const gallery = make("section", { className: "persona-gallery" },
    make("header", {}, make("h2", {}, say("Personas")), refresh),
    make("div", { className: "persona-search" }, search),
    cards,
)
gallery.dataset.testid = "persona_gallery"

// A thousand personas are listed at once, but only those that are seen are read.
const inView = new IntersectionObserver(seen => {
    for (const { target, isIntersecting } of seen) {
        if (!isIntersecting) continue
        inView.unobserve(target)
        target.dispatchEvent(new Event("persona.seen"))
    }
}, { root: cards, rootMargin: "300px" })

let shown // what the cards were made of

async function update() {
    let personas
    try {
        personas = await list()
    } catch {
        shown = undefined
        cards.replaceChildren(note(NO_LIST))
        return
    }
    const now = JSON.stringify(personas.map(({ newest, ...persona }) => persona))
    if (now === shown) return
    shown = now
    inView.disconnect()
    cards.replaceChildren(...folders(personas))
    filter()
}

function note(text) {
    return make("p", { className: "persona-note" }, text)
}

function folders(personas) {
    const newest = personas.filter(persona => persona.newest === persona)
    const names = [...new Set(newest.map(persona => persona.folder))].sort()
    const none = say("No persona yet. Learn one, and it appears here.")
    const empty = note(personas.length ? say("No persona is called so.") : none)
    return [...names.map(name => folder(name, personas, newest.filter(persona => persona.folder === name))), empty]
}

function folder(name, personas, newest) {
    const grid = make("div", { className: "persona-grid" })
    for (const persona of newest) {
        const older = personas.filter(other => other !== persona && other.newest === persona).map(other => card(other))
        const own = card(persona, older)
        for (const one of [own, ...older]) {
            inView.observe(one)
            one.dataset.searched = `${persona.folder}/${persona.title}`.toLowerCase()
        }
        grid.append(own, ...older)
    }
    return name ? make("details", { open: true }, make("summary", {}, name), grid) : grid
}

function filter() {
    const wanted = search.value.trim().toLowerCase()
    const all = [...cards.querySelectorAll("[data-searched]")]
    for (const one of all) one.classList.toggle("persona-filtered", !one.dataset.searched.includes(wanted))
    for (const part of cards.querySelectorAll("details")) {
        part.hidden = !part.querySelector("[data-searched]:not(.persona-filtered)")
        if (wanted) part.open = true
    }
    cards.querySelector(".persona-note").hidden = all.some(one => !one.classList.contains("persona-filtered"))
}

changes.addEventListener("change", () => gallery.isConnected && update())

app.registerExtension({
    name: "comfyuipersona.gallery",
    setup() {
        app.extensionManager.registerSidebarTab({
            id: "personas",
            icon: "pi pi-users",
            title: say("Personas"),
            tooltip: say("Personas"),
            type: "custom",
            render(place) { // also when it is there already
                if (gallery.parentElement === place) return
                place.classList.add("persona-sidebar")
                place.replaceChildren(gallery)
                update()
            },
        })
    },
})
