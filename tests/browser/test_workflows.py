"""The workflows in the graph editor: opened, converted, run and explained there."""

import base64
import json
import os
from itertools import combinations
from urllib.request import urlopen

import pytest
from editor import LOAD, MISSING, RUN, SET_WIDGETS, TO_PROMPT, as_prompt
from playwright.sync_api import expect
from prompts import API, FIRST_RELEASE, SMALL, find, only, pictures, workflow

from tools.graph_workflows import graph_file

NAMES = sorted(path.stem for path in API.glob("*.json"))
TITLE = 30  # height of a node's title bar, above its position
DROP = """async data => {
    const bytes = Uint8Array.from(atob(data), letter => letter.charCodeAt(0))
    await app.handleFile(new File([bytes], "picture.png", {type: "image/png"}))
}"""
SIZES = """type => {
    const node = app.graph.nodes.find(node => node.type === type)
    const drawn = node.imgs ?? [...document.querySelectorAll(`[data-node-id="${node.id}"] img`)]
    return drawn.map(image => [image.naturalWidth, image.naturalHeight])
}"""


# Whether the note is in view and lies above all else.
ON_TOP = """() => {
    const note = app.graph.nodes.find(node => node.type === "MarkdownNote")
    const [x, y] = [note.pos[0] + note.size[0] / 2, note.pos[1] - 15]
    const [left, top] = app.canvas.ds.convertOffsetToCanvas([x, y])
    const corner = app.canvas.canvas.getBoundingClientRect()
    const hit = document.elementFromPoint(corner.left + left, corner.top + top)
    return hit === app.canvas.canvas ? app.graph.getNodeOnPos(x, y) === note
                                     : hit?.closest("[data-node-id]")?.dataset.nodeId === String(note.id)
}"""
# What each node takes on the canvas, title bar included: x, y, width, height. Nodes 2.0 draws elements of its own.
BOXES = """title => app.graph.nodes.map(node => {
    const drawn = document.querySelector(`[data-node-id="${node.id}"]`)
    const size = drawn ? [drawn.offsetWidth, drawn.offsetHeight] : [node.size[0], node.size[1] + title]
    return {name: node.title, drawn: drawn !== null, box: [node.pos[0], node.pos[1] - title, ...size]}
})"""


def overlapping(boxes: list[tuple[str, list[float]]]) -> list[tuple[str, str]]:
    """Pairs of nodes of which one covers a part of the other. boxes: names, and x, y, width, height with the title."""

    def beside(one, other, side):
        return one[side] + one[side + 2] <= other[side] or other[side] + other[side + 2] <= one[side]

    pairs = combinations(boxes, 2)
    return [(one, other) for (one, a), (other, b) in pairs if not (beside(a, b, 0) or beside(a, b, 1))]


def overlaps(page) -> list[tuple[str, str]]:
    """Of the open graph, as this renderer draws it."""
    page.wait_for_timeout(500)  # until what grew has grown
    nodes = page.evaluate(BOXES, TITLE)
    assert nodes and all(node["drawn"] == bool(os.environ.get("COMFYUI_NODES2")) for node in nodes)
    return overlapping([(node["name"], node["box"]) for node in nodes])


def graph(name: str) -> str:
    return graph_file(name).read_text()


def load(page, name: str) -> None:
    page.evaluate(LOAD, [graph(name), name])
    assert page.evaluate(MISSING) == []


def run(page, shows_text: str, picture_sizes: dict) -> str:
    """Queue the open graph, wait for success and pictures of these sizes; the text one node class showed.

    The editor loads only pictures of nodes in view, so this also shows that the workflow fits the screen.
    """
    result = page.evaluate(RUN, shows_text)
    assert result["status"] == "execution_success", result["error"]
    for node, sizes in picture_sizes.items():
        page.wait_for_function(
            f"args => JSON.stringify(({SIZES})(args[0])) === JSON.stringify(args[1])", arg=[node, sizes], timeout=10_000
        )
    assert overlaps(page) == []
    return "\n".join(result["shown"])


@pytest.mark.parametrize("name", NAMES)
def test_the_layout_is_tidy(name):
    saved = json.loads(graph(name))
    places = [(node["id"], *node["pos"], *node["size"]) for node in saved["nodes"]]
    assert overlapping([(key, [x, y - TITLE, width, height + TITLE]) for key, x, y, width, height in places]) == []
    assert any("Note" in node["type"] for node in saved["nodes"])


@pytest.mark.parametrize("name", NAMES)
def test_texts_can_be_read_on_a_small_screen(page, name):
    """Below 60 % of their size, nodes are drawn without text."""
    page.set_viewport_size({"width": 1600, "height": 900})
    load(page, name)
    page.wait_for_timeout(500)  # it would be fitted after a moment
    assert page.evaluate("app.canvas.ds.scale") >= 0.6
    page.wait_for_function(ON_TOP)


@pytest.mark.parametrize("name", NAMES)
def test_the_graph_form_says_the_same_as_the_api_form(page, name):
    """Also values that no list of this server has: the checkpoint, and a persona not learned yet."""
    load(page, name)
    api = json.loads((API / f"{name}.json").read_text())
    assert as_prompt(json.loads(page.evaluate(TO_PROMPT))) == as_prompt(api)
    assert overlaps(page) == []


def test_a_graph_of_the_first_release_opens_with_its_values_in_their_places(page):
    page.evaluate(LOAD, [(FIRST_RELEASE / "load_and_generate.json").read_text(), "first"])
    assert page.evaluate(MISSING) == []
    expected = json.loads((FIRST_RELEASE / "load_and_generate_api.json").read_text())
    since = {"start_at": 0, "end_at": 1, "key_locking": 0, "context_preservation": 0}
    expected[find(expected, "PersonaApply")]["inputs"] |= since
    assert as_prompt(json.loads(page.evaluate(TO_PROMPT))) == as_prompt(expected)


def test_a_graph_from_before_there_were_presets_opens_with_its_values_in_their_places(page):
    saved = json.loads(graph("learn_and_generate"))
    node = next(node for node in saved["nodes"] if node["type"] == "PersonaLearn")
    own = {"steps": 1000, "learning_rate": 0.0001, "batch_size": 2}
    node["widgets_values"][3:6] = own.values()
    first = node["widgets_values"].index("auto")
    since = len(node["widgets_values"]) - first
    assert [one["name"] for one in node["inputs"][-since:]][0] == "preset"
    del node["widgets_values"][first:], node["inputs"][-since:]
    page.evaluate(LOAD, [json.dumps(saved), "before"])
    expected = json.loads((API / "learn_and_generate.json").read_text())
    expected[find(expected, "PersonaLearn")]["inputs"] |= own
    assert as_prompt(json.loads(page.evaluate(TO_PROMPT))) == as_prompt(expected)


@pytest.mark.parametrize("queued_by", ["editor", "API"])
def test_a_picture_dragged_into_the_editor_is_the_workflow_again(page, server, first_personas, queued_by):
    """The editor writes its graph into pictures; over the API, the prompt is there."""
    # Each its own file: what was saved before is not saved again.
    changes = {
        "PersonaLoad": {"persona_name": first_personas["kv_tokens"]},
        "SaveImage": {"filename_prefix": queued_by},
    }
    prompt = workflow("load_and_generate", changes)
    saved = {"extra_pnginfo": {"workflow": json.loads(graph("learn_and_generate"))}} if queued_by == "editor" else {}
    done = server.run(prompt, extra_data=saved)
    assert done.status == "success", done.error
    picture = server.view(done.outputs[find(prompt, "SaveImage")]["images"][0])
    page.evaluate("app.graph.clear()")
    page.evaluate(DROP, base64.b64encode(picture).decode())
    page.wait_for_function("app.graph.nodes.some(node => node.type === 'PersonaApply')")
    opened = json.loads(page.evaluate(TO_PROMPT))
    expected = json.loads((API / "learn_and_generate.json").read_text()) if saved else prompt
    assert as_prompt(opened) == as_prompt(expected)


class TestRunInTheBrowser:
    """Each in a page of its own: an early Nodes 2.0 scales the second workflow that it opens wrongly."""

    def test_learn_and_generate(self, page):
        load(page, "learn_and_generate")
        page.evaluate(SET_WIDGETS, SMALL | {"PersonaLearn": SMALL["PersonaLearn"] | {"name": "browser"}})
        expected = workflow("learn_and_generate", {"PersonaLearn": {"name": "browser"}})
        assert as_prompt(json.loads(page.evaluate(TO_PROMPT))) == as_prompt(expected)
        shown = run(page, "PersonaLearn", {"SaveImage": [[64, 64]], "PersonaLearn": [[768, 768]]})
        assert "step 1/4, loss" in shown and "Learned 'browser'; saved as" in shown
        assert as_prompt(json.loads(page.evaluate(TO_PROMPT))) == as_prompt(expected), "changed by running"
        page.evaluate("app.refreshComboInNodes()")  # what the R key does
        page.evaluate(LOAD, [graph("load_and_generate"), "load"])
        known = page.evaluate("app.graph.nodes.find(n => n.type === 'PersonaLoad').widgets[0].options.values")
        assert "browser.safetensors" in known

    def test_stages_from_attention(self, page):
        load(page, "stages_from_attention")
        page.evaluate(SET_WIDGETS, SMALL | {"PersonaLearn": SMALL["PersonaLearn"] | {"name": "browser_stages"}})
        shown = run(page, "PersonaStagePartition", {"SaveImage": [[64, 64]], "PersonaInfo": [[768, 768]]})
        assert "Dynamic stage" in shown

    def test_face_wise_kv_tokens(self, page):
        load(page, "face_wise_kv_tokens")
        page.evaluate(SET_WIDGETS, SMALL | {"PersonaKVTokens": SMALL["PersonaKVTokens"] | {"name": "browser_kv"}})
        words = ["a", "photo", "of", "<ann>", "wearing", "a", "santa", "hat", ",", "snow"]
        grid = [(1 + len(words)) * 160, 3 * (160 + 22)]
        sizes = {"SaveImage": [[64, 64]], "PersonaKVTokens": [[768, 768]], "PersonaAttention": [grid]}
        shown = run(page, "PersonaKVTokens", sizes)
        assert "step 1/4, loss noise" in shown and "Learned 'browser_kv'; saved as" in shown

    def test_learn_with_z_image(self, page, z_image):
        load(page, "learn_with_z_image")
        page.evaluate(SET_WIDGETS, SMALL | {"PersonaLearn": SMALL["PersonaLearn"] | {"name": "browser_flow"}})
        shown = run(page, "PersonaLearn", {"SaveImage": [[64, 64]], "PersonaLearn": [[768, 768]]})
        assert "step 1/4, loss noise" in shown and "Learned 'browser_flow'; saved as" in shown

    def test_load_and_generate(self, page, first_personas):
        load(page, "load_and_generate")
        page.evaluate(SET_WIDGETS, SMALL | {"PersonaLoad": {"persona_name": first_personas["stage_mapper"]}})
        run(page, "PersonaLoad", {"SaveImage": [[64, 64]]})

    def test_two_people(self, page, first_personas):
        load(page, "two_people")
        page.evaluate(SET_WIDGETS, SMALL | {"PersonaLoad": {"persona_name": first_personas["kv_tokens"]}})
        run(page, "PersonaLoad", {})


def test_a_bypassed_apply_is_the_base_picture(page, server):
    """Mode 4 is Bypass in the editor: MODEL and CLIP go straight through."""
    load(page, "learn_and_generate")
    page.evaluate(SET_WIDGETS, SMALL)
    page.evaluate("app.graph.nodes.find(node => node.type === 'PersonaApply').mode = 4")
    bypassed = json.loads(page.evaluate(TO_PROMPT))
    loader, apply = find(bypassed, "CheckpointLoaderSimple"), find(workflow(), "PersonaApply")
    assert apply not in bypassed

    plain = only(workflow(), "SaveImage")
    for node in plain.values():
        links = {
            key: [loader, link[1]]
            for key, link in node["inputs"].items()
            if isinstance(link, list) and link[0] == apply
        }
        node["inputs"] |= links
    del plain[apply]
    plain[find(plain, "SaveImage")]["inputs"]["filename_prefix"] = "never_applied"
    painted = [pictures(server, server.run(only(p, "SaveImage")), find(p, "SaveImage"))[0] for p in (bypassed, plain)]
    assert (painted[0] == painted[1]).all()


def test_every_node_has_a_help_page_that_names_its_inputs(server):
    ours = "custom_nodes.ComfyUI-Persona"
    nodes = {key: node for key, node in server.object_info().items() if node["python_module"] == ours}
    assert nodes
    for key, node in nodes.items():
        with urlopen(f"{server.url}/extensions/ComfyUI-Persona/docs/{key}.md") as answer:
            text = answer.read().decode()
        names = [name for kind in ("required", "optional") for name in node["input"].get(kind, {})]
        assert [name for name in names if f"`{name}`" not in text] == [], f"not on the page of {key}"


def test_the_help_button_shows_the_help_page(page):
    load(page, "learn_and_generate")
    page.evaluate("""() => {
        const node = app.graph.nodes.find(node => node.type === "PersonaApply")
        app.canvas.centerOnNode(node)
        app.canvas.selectNode(node)
    }""")
    page.get_by_test_id("info-button").click()
    expect(page.get_by_role("heading", name="Apply Stage-Regulated Embedding").first).to_be_visible()
    expect(page.get_by_role("listitem").filter(has_text="early_stage").first).to_be_visible()
