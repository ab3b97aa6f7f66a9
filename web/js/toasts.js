// Notes at the edge of the page: what was done goes by itself, what is to be done stays until it is closed.

import { app } from "../../../scripts/app.js"
import { say } from "./texts.js"

const LIFE = 8000 // milliseconds

export function tell(detail) {
    app.extensionManager.toast.add({ severity: "info", summary: say("Persona"), detail, life: LIFE })
}

export function warn(detail) {
    app.extensionManager.toast.add({ severity: "warn", summary: say("Persona"), detail })
}
