// What is known of the personas on the server. ComfyUI itself serves their list, metadata and pictures; which have a
// picture is told beside Load Persona's choices.

import { api } from "../../../scripts/api.js"
import { app } from "../../../scripts/app.js"
import { placeholderOf } from "./graph.js"
import { say } from "./texts.js"

export const FORMAT = "persona/1"
export const NO_LIST = say("The list of personas could not be read. Is ComfyUI running?")
const EXTENSION = ".safetensors"
const KEPT = /^(.+)\.(?:[0-9a-f]{8}|damaged)(?:-[0-9]+)?$/ // the name of an older copy, which made room for another persona
const LEFT_OUT = /(^|[\\/])\.|\p{Surrogate}/u // hidden files, and names that are no text, as Load Persona leaves them out
const order = new Intl.Collator(undefined, { numeric: true })

export const changes = new EventTarget() // "change": the list may be another
let listed
const read = new Map() // metadata, by file and when it was written
const words = new Map() // placeholders by file, undefined as long as they are not known
const stale = new Set() // files whose placeholder may be another by now

async function served(route) {
    const answer = await api.fetchApi(route)
    if (!answer.ok) throw new Error(`${route}: ${answer.status}`)
    return answer.json()
}

/** All personas on the server, by name. */
export function list() {
    if (!listed) {
        const asked = Promise.all([served("/experiment/models/personas"), served("/object_info/PersonaLoad")])
        listed = asked.then(([files, nodes]) => {
            const pictures = nodes.PersonaLoad?.input.required.persona_name[1]?.pictures ?? {}
            const personas = new Map() // of two of one name, ComfyUI takes the first
            for (const file of files) {
                if (!file.name.endsWith(EXTENSION) || LEFT_OUT.test(file.name) || personas.has(file.name)) continue
                personas.set(file.name, named(file, pictures[file.name]))
            }
            const newest = persona => (personas.has(persona.newer) ? newest(personas.get(persona.newer)) : persona)
            for (const persona of personas.values()) persona.newest = newest(persona)
            return [...personas.values()].sort((one, other) => order.compare(one.name, other.name))
        })
        listed.catch(() => { listed = undefined }) // to be asked again
    }
    return listed
}

function named(file, picture) {
    const path = file.name.slice(0, -EXTENSION.length)
    const parts = path.split(/[\\/]/) // as the server's system has it
    const copy = parts.at(-1).match(KEPT)
    return {
        ...file,
        title: parts.at(-1),
        folder: parts.slice(0, -1).join("/"),
        newer: copy && file.name.slice(0, -parts.at(-1).length - EXTENSION.length) + copy[1] + EXTENSION,
        picture: picture && pictureAddress(file, picture),
    }
}

function pictureAddress({ name, pathIndex }, changed) {
    const path = name.split("/").map(encodeURIComponent).join("/")
    return api.apiURL(`/experiment/models/preview/personas/${pathIndex}/${path}?changed=${changed}`)
}

/** What a persona's file says of itself. Rejects what is none. */
export function metadata(persona) {
    const key = JSON.stringify([persona.name, persona.modified, persona.size])
    if (!read.has(key)) {
        const asked = served(`/view_metadata/personas?filename=${encodeURIComponent(persona.name)}`).then(told)
        asked.catch(() => read.delete(key))
        read.set(key, asked)
    }
    return read.get(key)
}

function told(metadata) {
    if (metadata.format !== FORMAT) throw new Error("It is no persona of this version.")
    const { placeholder } = metadata
    const oneWord = typeof placeholder === "string" && /^\S+$/.test(placeholder)
    const word = oneWord ? placeholder : placeholderOf(`${metadata.name}`)
    return { ...metadata, placeholder: word, settings: table(metadata.settings), consent: table(metadata.consent) }
}

function table(text) {
    try {
        return JSON.parse(text) ?? {}
    } catch { // files of before have none
        return {}
    }
}

/** Who agreed that a persona is used, in a line; "" where its file does not say. */
function consentLine({ by, until }) {
    if (!by) return ""
    if (!until) return say("Consent: %by%", { by })
    const ended = new Date(`${until}T23:59:59`) < new Date()
    return ended ? say("Consent ended: %by%, %until%", { by, until }) : say("Consent: %by%, until %until%", { by, until })
}

/** The facts that a picture's caption has room for, one a line. */
export function caption(persona, { family, supercategory, placeholder, settings, consent }) {
    const date = persona.modified ? new Date(persona.modified * 1000).toLocaleDateString() : ""
    const known = typeof settings.score === "number"
    const score = known ? say("score %score%", { score: Number(settings.score.toPrecision(3)) }) : ""
    const told = [date, score].filter(Boolean).join(", ")
    return [`${supercategory} ${placeholder}`, `${family}`, told, consentLine(consent)].filter(Boolean)
}

/** The persona of a file in the list. */
export async function find(file) {
    return (await list()).find(persona => persona.name === file)
}

/** The placeholder that a file was made for; undefined where it is not known, which may be a moment later. */
export function placeholderIn(file) {
    if (!words.has(file) || stale.delete(file)) {
        words.set(file, words.get(file))
        find(file)
            .then(persona => persona && metadata(persona))
            .then(read => words.set(file, read?.placeholder))
            .catch(() => {}) // asked again once the list may be another
    }
    return words.get(file)
}

function refresh() {
    listed = undefined
    for (const file of words.keys()) stale.add(file)
    changes.dispatchEvent(new Event("change"))
}

app.registerExtension({
    name: "comfyuipersona.personas",
    setup() {
        api.addEventListener("execution_success", refresh) // it may have learned or saved one
    },
    refreshComboInNodes: refresh, // the R key
})
