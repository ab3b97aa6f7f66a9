"""The editor in another language: nodes are called and explained in it, and what is saved is the same in all."""

import json
import os
import re
from contextlib import ExitStack

import pytest
from editor import LOAD, TO_PROMPT, opened
from playwright.sync_api import expect

from tools.graph_workflows import graph_file
from tools.write_locales import LANGUAGES

NODE, TITLE = "PersonaApply", "Apply Stage-Regulated Embedding"
FROM = "From Learn Persona, Face-Wise K/V Tokens or Load Persona."  # of its input "persona"
ALONE = """async type => {
    await app.loadApiJson({1: {class_type: type, inputs: {}}}, "languages")
    app.canvas.ds.scale = 1
    app.canvas.ds.offset = [500, 300]
    app.canvas.setDirty(true, true)
    return app.graph.nodes[0].title
}"""
# Where an input is on the screen, as the classic renderer draws it.
PLACE = """name => {
    const [node] = app.graph.nodes
    const [x, y] = app.canvas.ds.convertOffsetToCanvas(node.getInputPos(node.findInputSlot(name)))
    const {left, top} = app.canvas.canvas.getBoundingClientRect()
    return [left + x + 20, top + y]
}"""
# Of the classic renderer, of Nodes 2.0, and of newer ones.
TOOLTIP = ".node-tooltip:visible, .p-tooltip:visible, [data-testid=tooltip-content] [role=tooltip]"
SAVED = "() => JSON.stringify(app.graph.serialize())"
SEARCH = "() => app.extensionManager.command.execute('Workspace.SearchBox.Toggle')"
SAY = """async () => (await import("/extensions/ComfyUI-Persona/js/texts.js")).say("Persona")"""


def words(language: str) -> dict[str, str]:
    return json.loads((LANGUAGES / f"{language}.json").read_text(encoding="utf-8")) if language != "en" else {}


@pytest.fixture(scope="module")
def editor_in(browser, server):
    """The editor in a browser of that language, which it takes as its own (Comfy.Locale)."""
    pages = {}

    def open_in(language: str):
        if language not in pages:
            pages[language] = windows.enter_context(opened(browser, server.url, locale=language))
            pages[language].wait_for_function("() => app.graph.nodes.length")  # the workflow that it opens with
        return pages[language]

    with ExitStack() as windows:
        yield open_in


def tooltip(page, known: set[str]) -> str:
    """Which of these the editor says of the node's input "persona" when the mouse rests on it."""
    label = "|".join({"persona", *(words(language)["persona"] for language in ("ja", "fr", "de"))})
    for _ in range(10):  # it may be busy yet
        page.mouse.move(1200, 900)
        if os.environ.get("COMFYUI_NODES2"):
            page.locator(".lg-slot--input").get_by_text(re.compile(f"^({label})$")).hover()
        else:
            page.mouse.move(*page.evaluate(PLACE, "persona"))
        page.wait_for_timeout(1000)
        for text in known.intersection(page.locator(TOOLTIP).all_inner_texts()):
            return text
    raise AssertionError(page.locator(TOOLTIP).all_inner_texts())


def test_a_node_is_called_and_explained_in_the_editors_language(editor_in, server):
    assert {file.stem for file in LANGUAGES.glob("*.json")} <= set(server.get("/i18n"))
    shown = []
    for language in ("ja", "fr", "de"):
        page, theirs = editor_in(language), words(language)
        title = page.evaluate(ALONE, NODE)
        if tooltip(page, {FROM, theirs[FROM]}) != FROM:
            assert title == theirs[TITLE] and page.evaluate(SAY) == theirs["Persona"]
            shown.append(language)
    # Editors of late 2025 forget what packs say in the languages that they have themselves (Comfy-Org/ComfyUI_frontend,
    # issue 6748); no editor has German, which newer ones do not take from the browser.
    assert shown in (["ja", "fr"], ["de"])


def test_what_is_saved_is_the_same_in_every_language(editor_in):
    """Ids, not what they are called: it opens in any other language, and in an editor without translations."""
    graph = graph_file("load_and_generate").read_text()
    english = editor_in("en")
    english.evaluate(LOAD, [graph, "languages"])
    prompt, saved = queued(english), english.evaluate(SAVED)
    for language in ("ja", "fr", "de"):
        page = editor_in(language)
        page.evaluate(LOAD, [graph, "languages"])
        assert queued(page) == prompt
        english.evaluate(LOAD, [page.evaluate(SAVED), "languages"])
        assert queued(english) == prompt
        assert named(english.evaluate(SAVED)) == named(saved) == named(page.evaluate(SAVED))


def queued(page) -> dict:
    """What the server is given, but for titles."""
    nodes = json.loads(page.evaluate(TO_PROMPT))
    return {key: (node["class_type"], node["inputs"]) for key, node in nodes.items()}


def named(graph: str) -> list:
    """By what a saved graph's nodes find their inputs, values and outputs again."""
    nodes = json.loads(graph)["nodes"]
    slots = [[one["name"] for one in (*node["inputs"], *node["outputs"])] for node in nodes if "inputs" in node]
    assert sum("persona" in names for names in slots) == 2
    return [slots, [(node["type"], node.get("title"), node.get("widgets_values")) for node in nodes]]


def test_nodes_are_found_by_what_artists_call_it(editor_in, server):
    if not server.object_info()["PersonaLearn"].get("search_aliases"):
        pytest.skip("this ComfyUI knows nodes by their names alone")
    page = editor_in("en")
    page.evaluate(ALONE, NODE)
    page.evaluate(SEARCH)
    page.wait_for_timeout(500)
    page.keyboard.type("textual inversion")
    expect(page.get_by_text("Learn Persona (one-shot)").last).to_be_visible()
