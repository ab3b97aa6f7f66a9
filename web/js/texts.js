// What the editor's side says, in the editor's language: locales/LANGUAGE/main.json, written by
// tools/write_locales.py.

import { api } from "../../../scripts/api.js"
import { app } from "../../../scripts/app.js"

const language = app.extensionManager.setting.get("Comfy.Locale")
const translations = language === "en" ? {} : await ofThePack(language)

async function ofThePack(language) {
    const answer = await api.fetchApi("/i18n")
    return answer.ok ? (await answer.json())[language]?.persona ?? {} : {}
}

/** A text, given in English, or in English if it has no translation: a constant, which the tool looks for. In the place
 *  of %name% stands the value of that name. */
export function say(text, values = {}) {
    const said = translations[text] ?? text
    return said.replace(/%(\w+)%/g, (mark, name) => values[name] ?? mark)
}
