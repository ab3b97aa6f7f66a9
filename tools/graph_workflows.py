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
from tools.small_world import GRAPH, NODE_PACK, learn_and_paint, place_photo

WORKFLOWS, README_PICTURE = PACK / "workflows", PACK / "docs/graph.png"
# What the Templates dialog calls the workflows of workflows/api. It lists them as the file system does, or by name.
TEMPLATES = {
    "learn_and_generate": "1 Learn a face and paint it",
    "load_and_generate": "2 Paint with a persona you have",
    "two_people": "3 Two people in one picture",
    "face_wise_kv_tokens": "4 Learn a face as K and V tokens",
    "stages_from_attention": "5 Learn a face, stages first",
}
# The same workflow as a form, for editors that have an app mode: node, its input and what that is called, from top to
# bottom. The picture is node 16's.
PAINTING = [(11, "text", "prompt"), (14, "seed", "seed"), (1, "ckpt_name", "checkpoint")]
FORMS = {
    "learn_and_generate": [(2, "image", "photo"), (4, "name", "name"), *PAINTING],
    "load_and_generate": [(9, "persona_name", "persona"), *PAINTING],
}

# A note, then groups from left to right: title, columns; a column: width, nodes from top to bottom. A note that is in
# none stands to the left.
NOTE = 0
SOURCE = ("1. Checkpoint and photo", [(300, [1, 2, 3])])
PAINT = ("3. Paint with it", [(360, [10, 11, 12, 13]), (330, [14, 15, 16])])
LAYOUTS = {
    "learn_and_generate": (
        "## A persona from one photo\n\n"
        "1. Choose a **checkpoint** and your **photo**: one clear face.\n"
        "2. Give the persona a **name**.\n"
        "3. Write **&lt;ann&gt;** in the prompt wherever the person belongs.\n"
        "4. Run.\n\n"
        "Learning happens once. Change the prompt and run again: the persona is reused, also after a "
        "restart.\n\nIts file goes to `models/personas`.",
        [SOURCE, ("2. Learn it, once", [(330, [4])]), PAINT],
    ),
    "stages_from_attention": (
        "## Stages from attention\n\n"
        "Like *1 Learn a face and paint it*, but first the checkpoint is watched: when does its attention cover the "
        "subject best? The persona is learned for that stretch of the sampling instead of the usual 400 to "
        "800.\n\n"
        "1. Choose a **checkpoint** and your **photo**.\n"
        "2. Give the persona a **name**.\n"
        "3. Run, then read the **chart**: the stage is shaded.",
        [
            (SOURCE[0], [(300, [NOTE, 1, 2, 3])]),
            ("2a. Find the stages", [(330, [5, 7])]),
            ("2b. Learn it, once", [(330, [4]), (330, [8, 9])]),
            PAINT,
        ],
    ),
    "face_wise_kv_tokens": (
        "## A persona of K and V tokens\n\n"
        "Like *1 Learn a face and paint it*, the second way: a file of tens of kilobytes.\n\n"
        "1. Choose a **checkpoint** and your **photo**.\n"
        "2. Give the persona a **name**.\n"
        "3. Write **&lt;ann&gt;** in both prompts and run.\n\n"
        "**Persona Attention** shows where each word looks while the picture forms. A word that stays dark is "
        "drowned by the others.",
        [SOURCE, ("2. Learn it, once", [(330, [4])]), PAINT, ("4. See why", [(420, [17])])],
    ),
    "load_and_generate": (
        "## A persona you already have\n\n"
        "1. Put its file into `models/personas`. Learn Persona saves there by itself.\n"
        "2. Press **R** and choose it in **Load Persona**.\n"
        "3. Choose the **checkpoint** it was learned with, or a relative.\n"
        "4. Write **&lt;ann&gt;** in the prompt and run.",
        [("1. Checkpoint and persona", [(300, [1, 9])]), ("2. Paint with it", PAINT[1])],
    ),
    "two_people": (
        "## Two people, each in their half\n\n"
        "1. Learn each alone, with *1 Learn a face and paint it*.\n"
        "2. Press **R** and choose both in **Load Persona**.\n"
        "3. Choose the **checkpoint** they were learned with, or a relative.\n"
        "4. Say in the prompt who is **left** and who is **right**, and run.\n\n"
        "A persona appears where the mask of its Apply is white. Paint your own masks, or take them away.",
        [
            ("1. Checkpoint and personas", [(300, [NOTE, 1, 9, 18])]),
            ("2. Who is where", [(270, [22, 23, 24, 25]), (330, [10, 19])]),
            ("3. Paint", [(340, [11, 12, 13, 14]), (330, [15, 16])]),
        ],
    ),
    GRAPH.stem: (
        "## Try it on a made-up face\n\n"
        "1. Run: learning takes less than a minute.\n"
        "2. Change the **prompt**, keep **&lt;ann&gt;** in it, and run again: that takes a second.\n\n"
        "The small painter knows hats, glasses and clothes in ten colours, moods, who looks where, ten places by day, "
        "at sunset and at night, cats, and a thousand people by name: *a photo of &lt;ann&gt; and an orange cat in a "
        "garden*.\n\n"
        "The mask is white where the person is. For photographs, Face Mask makes one.",
        [
            ("1. Painter and photo", [(300, [1, 2, 3])]),
            ("2. Learn it, once", [(330, [4])]),
            (PAINT[0], [PAINT[1][0], (330, [14, 15, 16])]),
        ],
    ),
}
HEIGHTS = {
    "MarkdownNote": 290,
    "LoadImage": 370,
    "LoadImageMask": 370,
    "CLIPTextEncode": 140,
    "SaveImage": 400,
    "PreviewImage": 240,
    "PreviewAny": 330,
}
# What a node grows to: in Nodes 2.0, which draws widgets taller, or once it shows a text or a chart.
GROWN = {
    "CheckpointLoaderSimple": 130,
    "EmptyLatentImage": 125,
    "KSampler": 275,
    "MaskComposite": 185,
    "MiniWorldLoader": 105,
    "PersonaApply": 340,
    "PersonaAttention": 740,
    "PersonaFaceMask": 295,
    "PersonaInfo": 450,
    "PersonaKVTokens": 885,
    "PersonaLearn": 870,
    "PersonaLoad": 115,
    "PersonaStagePartition": 575,
    "PreviewImage": 275,
    "SolidMask": 125,
    "VAEDecode": 60,
}

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
