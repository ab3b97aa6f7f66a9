// Load Persona shows whom it loads: the picture and the facts of the chosen persona, where it has a picture.

import { app } from "../../../scripts/app.js"
import { make, portrait } from "./elements.js"
import { everyNode } from "./graph.js"
import { fit } from "./lines.js"
import { caption, changes, find, metadata } from "./personas.js"

const CARD = "persona_card"
const shows = new WeakMap() // what shows a node whom it loads

function chain(object, name, after) {
    const before = object[name]
    object[name] = function (...args) {
        const result = before?.apply(this, args)
        after()
        return result
    }
}

app.registerExtension({
    name: "comfyuipersona.load",
    nodeCreated(node) {
        if (node.comfyClass !== "PersonaLoad") return
        const element = make("div", { className: "persona-loaded", hidden: true })
        element.dataset.testid = CARD
        const widget = node.addDOMWidget(CARD, CARD, element, {
            serialize: false,
            getMinHeight: () => (element.hidden ? 0 : 130),
            getMaxHeight: () => (element.hidden ? 0 : 530),
        })
        widget.serialize = false // it belongs to the file, not to the workflow

        const choice = node.widgets.find(widget => widget.name === "persona_name")
        const show = async () => {
            const name = choice.value
            const persona = await find(name).catch(() => undefined)
            const read = persona?.picture && await metadata(persona).catch(() => undefined)
            if (choice.value !== name) return // another was chosen meanwhile
            element.hidden = !read
            if (!read) return element.replaceChildren()
            const facts = caption(persona, read).map(line => make("div", {}, line))
            const picture = portrait(persona.picture, persona.title)
            element.replaceChildren(picture, make("div", { className: "persona-facts" }, ...facts))
            fit(node)
        }
        chain(choice, "callback", show)
        chain(node, "onConfigure", show)
        chain(node, "onAdded", show)
        shows.set(node, show)
    },
    setup() {
        changes.addEventListener("change", () => everyNode().forEach(node => shows.get(node)?.()))
    },
})
