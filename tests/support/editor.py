"""What browser tests do with the graph editor."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, Locator, Page

from tools.graph_workflows import open_editor

SCREEN = {"width": 1920, "height": 1080}
OURS = "/extensions/ComfyUI-Persona/js/"  # where what the pack runs in the browser comes from
# Answers of the server that tests want, or that the editor is ready for: a help page in its own language.
MISSED = re.compile(r"broken|docs/Persona\w+/\w+\.md$")

# Both in the page: Playwright would turn undefined into null.
LOAD = "([graph, name]) => app.loadGraphData(JSON.parse(graph), true, true, name)"
OPEN = "([api, name]) => app.loadApiJson(api, name)"  # of a prompt in API form
TO_PROMPT = "async () => JSON.stringify((await app.graphToPrompt()).output)"
# Classes that the editor does not know. Not `has_errors`: newer editors set it for a file that is not there, too.
MISSING = "app.graph.nodes.filter(node => !LiteGraph.registered_node_types[node.type]).map(node => node.type)"
# In the graph and in subgraphs: {class: {widget: value}}.
SET_WIDGETS = """changes => {
    for (const node of app.graph.nodes.flatMap(node => [node, ...node.subgraph?.nodes ?? []]))
        for (const [name, value] of Object.entries(changes[node.type] ?? {}))
            node.widgets.find(widget => widget.name === name).value = value
}"""
# How it ended, and all that the node of this class showed as its text meanwhile.
RUN = """async type => {
    const ended = new Promise(done => {
        for (const end of ["execution_success", "execution_error", "execution_interrupted"])
            app.api.addEventListener(end, event => done([end, event.detail.exception_message]), {once: true})
    })
    const shown = new Set()
    const look = () => app.graph.nodes.find(node => node.type === type)?.widgets?.forEach(widget => {
        if (widget.name === "$$node-text-preview") shown.add(widget.value)
        if (widget.name === "persona_notice") shown.add(widget.element.textContent)
    })
    const timer = setInterval(look, 20)
    await app.queuePrompt(0, 1)
    const refused = Object.keys(app.lastNodeErrors ?? {}).length
    // An error of the run may be among them already.
    const after = new Promise(done => setTimeout(() => done(["refused", JSON.stringify(app.lastNodeErrors)]), 2000))
    const [status, error] = await (refused ? Promise.race([ended, after]) : ended)
    look()
    clearInterval(timer)
    return {status, error, shown: [...shown]}
}"""
OF_THE_EDITOR = {"PreviewAny": "preview"}  # inputs that newer editors put into the prompt, by how they begin


@contextmanager
def opened(browser: Browser, url: str, **options) -> Iterator[Page]:
    """The editor in a browser window of its own, in which nothing of the pack's may fail: not in what it throws, in
    what it writes into the console, nor in what it asks of the server."""
    errors = []

    def blame(told: str) -> None:
        if OURS in told:
            errors.append(told)

    def answered(address: str, status: int) -> None:
        if status >= 400 and "ersona" in address and not MISSED.search(address):
            errors.append(f"{status}: {address}")

    with browser.new_context(viewport=SCREEN, **options) as context:
        page = context.new_page()
        page.on("pageerror", lambda error: blame(f"{error} {error.stack}"))
        page.on("console", lambda said: said.type == "error" and blame(f"{said.text} {said.location}"))
        page.on("response", lambda answer: answered(answer.url, answer.status))
        open_editor(page, url)
        yield page
        assert not errors, errors


@contextmanager
def nothing_thrown(page: Page) -> Iterator[None]:
    """Nor by the editor itself, which may be given what it cannot take."""
    errors = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    yield
    assert not errors, errors


def toasts(page: Page) -> Locator:
    """The notes at the edge of the page. Newer editors have their text a second time, for those who cannot see."""
    return page.locator(".p-toast-message, [data-testid=toast]")


def as_prompt(api: dict) -> dict:
    """What the server looks at in a prompt."""
    shown = {}
    for key, node in api.items():
        skipped = OF_THE_EDITOR.get(node["class_type"])
        inputs = {name: value for name, value in node["inputs"].items() if not (skipped and name.startswith(skipped))}
        shown[key] = node["class_type"], inputs
    return shown
