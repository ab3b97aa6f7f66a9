// A persona's file that is dropped into the editor becomes Load Persona and Apply. Nothing is uploaded: the server has
// the file already, or a note says where to put it. All other files are the editor's.

import { api } from "../../../scripts/api.js"
import { app } from "../../../scripts/app.js"
import { addToGraph } from "./card.js"
import { FORMAT, list, metadata, NO_LIST } from "./personas.js"
import { say } from "./texts.js"
import { warn } from "./toasts.js"

const LONGEST_HEADER = 1024 * 1024 // ComfyUI reads no longer one either
const handedBack = new WeakSet()

function isSafetensors(file) {
    return file.name.toLowerCase().endsWith(".safetensors")
}

/** The metadata of a persona's file, read here; undefined for every other file. */
async function personaIn(file) {
    if (!isSafetensors(file)) return undefined
    try {
        const length = Number(new DataView(await file.slice(0, 8).arrayBuffer()).getBigUint64(0, true))
        if (length > LONGEST_HEADER) return undefined
        const told = JSON.parse(await file.slice(8, 8 + length).text()).__metadata__
        return told?.format === FORMAT ? told : undefined
    } catch { // cut off, or something else
        return undefined
    }
}

/** The persona on the server that a dropped file is, in whatever folder; undefined if it is not there. */
async function onServer(file, told) {
    const namesakes = (await list()).filter(persona => persona.name.split(/[\\/]/).at(-1) === file.name)
    for (const persona of namesakes) {
        const read = await metadata(persona).catch(() => undefined)
        if (read && (read.fingerprint ?? "") === (told.fingerprint ?? "")) return { ...read, name: persona.name }
    }
    return undefined
}

async function sayWhereItBelongs(file) {
    const folders = await (await api.fetchApi("/experiment/models")).json()
    const place = folders.find(folder => folder.name === "personas")?.folders[0] ?? "models/personas"
    const names = { file: file.name, place }
    warn(say("This persona is not on the server. Copy %file% to %place%, press R, and drop it again.", names))
}

/** Let the editor have these files as if we had not been there. */
function handBack(files, target, { clientX, clientY, screenX, screenY, ctrlKey, shiftKey, altKey, metaKey }) {
    const dataTransfer = new DataTransfer()
    for (const file of files) dataTransfer.items.add(file)
    const place = { clientX, clientY, screenX, screenY }
    const keys = { ctrlKey, shiftKey, altKey, metaKey }
    const event = new DragEvent("drop", {
        bubbles: true, cancelable: true, composed: true, ...place, ...keys, dataTransfer,
    })
    handedBack.add(event)
    target.dispatchEvent(event)
}

async function take(files, target, event, place) {
    const others = []
    for (const file of files) {
        const told = await personaIn(file)
        if (!told) {
            others.push(file)
            continue
        }
        try {
            const persona = await onServer(file, told)
            if (persona) await addToGraph(persona.name, persona.placeholder, place)
            else await sayWhereItBelongs(file)
        } catch {
            warn(NO_LIST)
        }
    }
    if (others.length) handBack(others, target, event)
    else app.canvas.canvas.dispatchEvent(new DragEvent("dragleave")) // no node is under the file any more
}

app.registerExtension({
    name: "comfyuipersona.drop",
    setup() {
        // Before the editor: whether a file is a persona is known only once it has been read.
        document.addEventListener("drop", event => {
            const files = [...(event.dataTransfer?.files ?? [])]
            if (handedBack.has(event) || !files.some(isSafetensors)) return
            event.preventDefault()
            event.stopImmediatePropagation()
            take(files, event.target, event, app.canvas.convertEventToCanvasOffset(event))
        }, true)
    },
})
