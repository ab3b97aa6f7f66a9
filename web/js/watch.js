// The editor has no event for all the ways in which a value changes: typing, undo, a paste, a link, another pack's
// script. So what matters is looked at now and then.

import { app } from "../../../scripts/app.js"

const PAUSE = 300 // milliseconds

const watched = []

/** Call `changed` whenever what `look` tells, as JSON, is another, and whenever a workflow was opened. */
export function watch(look, changed) {
    const one = { look, changed, last: "" }
    watched.push(one)
    setInterval(() => {
        const now = JSON.stringify(look())
        if (now === one.last) return
        one.last = now
        changed()
    }, PAUSE)
}

app.registerExtension({
    name: "comfyuipersona.watch",
    afterConfigureGraph() {
        for (const one of watched) one.last = ""
    },
})
