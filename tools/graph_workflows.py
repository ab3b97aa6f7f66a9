"""Write the workflows that the graph editor opens from those in API form, which the server takes.

    python -m tools.graph_workflows [NAME ...]

workflows/*.json come from workflows/api/*.json, the small world's from miniworld/workflow.py. The real frontend
converts them, so they are what it would save itself; only the layout is here. With them go the blueprint (a subgraph
that the node library lists) and the README's picture. Look at that after each change. The pictures in the Templates
dialog: tools/thumbnails.py.
"""

import io
import json
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright
from skimage import data
from skimage.io import imsave

from tools.blueprint import write_blueprint
from tools.comfy_server import ComfyServer
from tools.environment import PACK, installed
from tools.graph_layouts import FORMS, GROWN, HEIGHTS, LAYOUTS, TEMPLATES
from tools.small_world import GRAPH, NODE_PACK, learn_and_paint, place_photo

WORKFLOWS, README_PICTURE = PACK / "workflows", PACK / "docs/graph.png"
ARRANGE = """([note, groups, heights, grown, id]) => {
    const gap = 50, title = 30
    let x = 0, bottom = 0
    const boxes = []
    const help = LiteGraph.createNode("MarkdownNote")
    app.graph.add(help)
    help.title = "What to do"
    help.widgets[0].value = note
    help.pos = [-330, 0]
    help.setSize([270, 290])
    for (const [name, columns] of groups) {
        const left = x
        for (const [width, ids] of columns) {
            let y = 0
            for (const node of ids.map(id => id ? app.graph.getNodeById(id) : help)) {
                node.setSize([width, Math.max(node.computeSize()[1], heights[node.type] ?? 0)])
                node.pos = [x, y]
                y += Math.max(node.size[1], grown[node.type] ?? 0) + title + gap
            }
            x += width + gap
            bottom = Math.max(bottom, y - title - gap)
        }
        const box = new LiteGraph.LGraphGroup(name)
        box.pos = [left - gap / 2, -2.5 * title]
        box.size = [x - left, 0]
        app.graph.add(box)
        boxes.push(box)
        x += gap / 2
    }
    for (const box of boxes) box.size = [box.size[0], bottom + 2.5 * title + gap / 2]
    for (const node of app.graph.nodes)  // as loaded it is "randomize": the seed would change at each run
        for (const widget of node.widgets ?? [])
            if (widget.name === "control_after_generate") widget.value = "fixed"
    for (const node of app.graph.nodes)  // its placeholder is put in front of an Apply's title whenever it is opened
        if (node.title.endsWith(`: ${node.constructor.title}`)) node.title = node.constructor.title
    app.graph.id = id
    const saved = app.graph.serialize()
    const left = Math.min(help.pos[0], boxes[0].pos[0]) - gap / 2, top = boxes[0].pos[1]
    // Where it opens. Fitted to a small screen, texts could not be read: below 60 % there are none. And an early Nodes
    // 2.0, which makes the layout larger, puts nodes beside their groups when it fits.
    saved.extra.ds = {scale: 0.6, offset: [2.5 * gap - left, 5 * gap - top]}
    return [JSON.stringify(saved), [left, top, x, bottom + gap]]  // here: outside, undefined would become null
}"""
# The whole graph at its natural size, and nothing but the graph.
SHOW = """([left, top]) => {
    app.canvas.ds.scale = 1
    app.canvas.ds.offset = [-left, -top]
    app.canvas.show_info = false
    app.canvas.setDirty(true, true)
}"""
ONLY_GRAPH = """body * { visibility: hidden !important }
#graph-canvas, .dom-widget, .dom-widget * { visibility: visible !important }"""


@contextmanager
def open_browser() -> Iterator:
    """The Chromium that set-up found, without a window."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=installed()["chromium"], args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


def open_editor(page: Page, url: str) -> None:
    """Go to a server's graph editor and wait until it has opened its first workflow, which would replace another."""
    page.goto(url)
    page.wait_for_function("window.app?.graph && window.app.extensionManager?.workflow?.activeWorkflow")


def graph_file(name: str) -> Path:
    """Where the graph of a workflow is."""
    return GRAPH if name == GRAPH.stem else WORKFLOWS / f"{TEMPLATES[name]}.json"


def api_form(name: str) -> dict:
    """What that graph is written from."""
    return learn_and_paint() if name == GRAPH.stem else json.loads((WORKFLOWS / f"api/{name}.json").read_text())


def convert(page: Page, name: str) -> None:
    """Write one graph, and what goes with the first of them."""
    note, groups = LAYOUTS[name]
    page.evaluate("([api, name]) => app.loadApiJson(api, name)", [api_form(name), name])
    page.wait_for_function("app.graph.nodes.every(node => node.type !== 'LoadImage' || node.imgs)")
    identity = str(uuid.uuid5(uuid.NAMESPACE_URL, f"ComfyUI-Persona/{name}"))
    saved, box = page.evaluate(ARRANGE, [note, groups, HEIGHTS, GROWN, identity])
    graph, file = json.loads(saved), graph_file(name)
    if name in FORMS:
        add_form(graph, FORMS[name])
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(graph, indent=1) + "\n")
    if name == "learn_and_generate":
        photograph(page, *box)
        write_blueprint(page)


def add_form(graph: dict, form: list[tuple[int, str, str]]) -> None:
    """Tell the saved graph what is asked in app mode, and call its inputs so."""
    inputs = {(node["id"], one["name"]): one for node in graph["nodes"] for one in node.get("inputs", [])}
    for node, name, label in form:
        if label != name:
            inputs[node, name]["label"] = label
    graph["extra"]["linearData"] = {"inputs": [[node, name] for node, name, _ in form], "outputs": [16]}


def photograph(page: Page, left: float, top: float, right: float, bottom: float) -> None:
    """The README's picture: this part of the open graph."""
    page.set_viewport_size({"width": round(right - left), "height": round(bottom - top)})
    page.add_style_tag(content=ONLY_GRAPH)
    page.evaluate(SHOW, [left, top])
    page.wait_for_timeout(500)  # a few frames
    README_PICTURE.parent.mkdir(exist_ok=True)
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    picture.quantize().save(README_PICTURE, optimize=True)


def main(names: list[str]) -> None:
    with (
        tempfile.TemporaryDirectory() as folder,
        ComfyServer(Path(folder), cpu=True, packs=[NODE_PACK]) as server,
        open_browser() as browser,
    ):
        imsave(server.base / "input/example.png", data.astronaut(), check_contrast=False)
        place_photo(server.base)
        for name in names or LAYOUTS:
            page = browser.new_page()  # a fresh one, or ids of links go on counting
            open_editor(page, server.url)
            convert(page, name)
            page.close()


if __name__ == "__main__":
    main(sys.argv[1:])
