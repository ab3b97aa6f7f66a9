// The prompt that was last written in: what is inserted from elsewhere goes to its cursor.

const OF_A_DIALOG = "dialog, [role=dialog]"
const LETTER = /[\p{L}\p{N}]/u
let last

document.addEventListener("focusin", ({ target }) => {
    if (target instanceof HTMLTextAreaElement && !target.readOnly && !target.closest(OF_A_DIALOG)) last = target
})

/** Write a text in the place of what a box holds from start to end, and go on behind it. */
export function write(box, text, start, end) {
    box.setRangeText(text, start, end, "end")
    box.dispatchEvent(new Event("input", { bubbles: true }))
    box.focus()
}

/** Write a word at the cursor and go back there; false if no prompt was written in yet. */
export function insert(word) {
    if (!last?.isConnected) return false
    const { value, selectionStart: start, selectionEnd: end } = last
    const before = LETTER.test(value[start - 1] ?? "") ? " " : ""
    const after = LETTER.test(value[end] ?? "") ? " " : ""
    write(last, before + word + after, start, end)
    return true
}
