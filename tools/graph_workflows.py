"""Write the workflows that the graph editor opens from those in API form, which the server takes.

    python -m tools.graph_workflows [NAME ...]

workflows/*.json come from workflows/api/*.json, the small world's from miniworld/workflow.py. The real frontend
converts them, so they are what it would save itself; only the layout is here. With them go their pictures in the
Templates dialog and the README's. Look at those after each change.
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

from tools.comfy_server import ComfyServer
from tools.environment import PACK, installed
from tools.small_world import GRAPH, NODE_PACK, learn_and_paint, place_photo

WORKFLOWS, README_PICTURE = PACK / "workflows", PACK / "docs/graph.png"
THUMBNAIL = 512

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
        "Like *learn_and_generate*, but first the checkpoint is watched: when does its attention cover the "
        "subject best? The persona is learned for that stretch of the sampling instead of the usual 400 to "
        "800.\n\n"
        "1. Choose a **checkpoint** and your **photo**.\n"
        "2. Give the persona a **name**.\n"
        "3. Run, then read the **chart**: the stage is shaded.",
        [SOURCE, ("2a. Find the stages", [(330, [5, 7])]), ("2b. Learn it, once", [(330, [4]), (330, [8, 9])]), PAINT],
    ),
    "face_wise_kv_tokens": (
        "## A persona of K and V tokens\n\n"
        "Like *learn_and_generate*, the second way: a file of tens of kilobytes.\n\n"
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
        "1. Learn each alone, with *learn_and_generate*.\n"
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
    "PersonaAttention": 700,
    "PersonaFaceMask": 295,
    "PersonaInfo": 320,
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
    app.graph.id = id
    const saved = app.graph.serialize()
    delete saved.extra.ds  // where the view was; without it, opening fits the graph to the screen
    return [JSON.stringify(saved),  // here: outside, undefined would become null
            [Math.min(help.pos[0], boxes[0].pos[0]) - gap / 2, boxes[0].pos[1], x, bottom + gap], boxes[0].pos[0]]
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


def sources() -> dict[Path, dict]:
    """What is written from what: the graph's file and the workflow's API form."""
    graphs = {WORKFLOWS / file.name: json.loads(file.read_text()) for file in WORKFLOWS.glob("api/*.json")}
    return graphs | {GRAPH: learn_and_paint()}


def convert(page: Page, api: dict, file: Path) -> None:
    """Write one workflow and its pictures."""
    note, groups = LAYOUTS[file.stem]
    page.evaluate("([api, name]) => app.loadApiJson(api, name)", [api, file.stem])
    page.wait_for_function("app.graph.nodes.every(node => node.type !== 'LoadImage' || node.imgs)")
    identity = str(uuid.uuid5(uuid.NAMESPACE_URL, f"ComfyUI-Persona/{file.stem}"))
    graph, (left, top, right, bottom), first = page.evaluate(ARRANGE, [note, groups, HEIGHTS, GROWN, identity])
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(json.loads(graph), indent=1) + "\n")

    page.set_viewport_size({"width": round(right - left), "height": round(bottom - top)})
    page.add_style_tag(content=ONLY_GRAPH)
    page.evaluate(SHOW, [left, top])
    page.wait_for_timeout(500)  # a few frames
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    square = picture.crop((start := round(first - left), 0, start + picture.height, picture.height))
    small = square.resize((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS)
    small.save(file.with_suffix(".jpg"), quality=80)
    if file.stem == "learn_and_generate":
        README_PICTURE.parent.mkdir(exist_ok=True)
        picture.quantize().save(README_PICTURE, optimize=True)


def main(names: list[str]) -> None:
    with (
        tempfile.TemporaryDirectory() as folder,
        ComfyServer(Path(folder), cpu=True, packs=[NODE_PACK]) as server,
        open_browser() as browser,
    ):
        imsave(server.base / "input/example.png", data.astronaut(), check_contrast=False)
        place_photo(server.base)
        for file, api in sources().items():
            if names and file.stem not in names:
                continue
            page = browser.new_page()  # a fresh one, or ids of links go on counting
            open_editor(page, server.url)
            convert(page, api, file)
            page.close()


if __name__ == "__main__":
    main(sys.argv[1:])
