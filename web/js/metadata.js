// What the files of personas say of themselves, as ComfyUI reads it out of them.

import { api } from "../../../scripts/api.js"

const known = new Map() // the metadata of a file, null where there is none or it is on its way

/** The metadata of a persona's file by its name in the list, or null: it is asked for, and there a moment later. */
export function metadataOf(file) {
    if (!known.has(file)) {
        known.set(file, null)
        ask(file)
    }
    return known.get(file)
}

async function ask(file) {
    const response = await api.fetchApi(`/view_metadata/personas?${new URLSearchParams({ filename: file })}`)
    if (response.ok) known.set(file, await response.json())
}

api.addEventListener("execution_success", () => known.clear()) // it may have been learned anew
