// HTML elements of ours, with their style. Children are elements or text, never HTML: names come from files.

const style = document.createElement("link")
style.rel = "stylesheet"
style.href = new URL("../css/personas.css", import.meta.url).href
document.head.append(style)

export function make(tag, properties = {}, ...children) {
    const element = Object.assign(document.createElement(tag), properties)
    element.append(...children)
    return element
}

/** A button with one of the editor's icons, whose label is read out and shown as its tooltip. */
export function iconButton(icon, label, onclick) {
    const button = make("button", { type: "button", title: label, onclick }, make("i", { className: `pi ${icon}` }))
    button.ariaLabel = label
    return button
}

/** A persona's picture, or a figure where it has none. */
export function portrait(url, alt) {
    const frame = make("div", { className: "persona-picture" })
    if (url) frame.append(make("img", { src: url, alt, loading: "lazy" }))
    else frame.append(make("i", { className: "pi pi-user" }))
    return frame
}
