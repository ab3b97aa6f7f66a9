"""Files that are dropped into the editor: personas become nodes, all else is the editor's."""

import base64
import json

import pytest
from editor import toasts
from gallery import put_persona
from PIL import Image, PngImagePlugin
from playwright.sync_api import expect
from safetensors.torch import save_file
from torch import zeros

from tools.graph_workflows import graph_file

HOSTILE = "<img src=x onerror=window.hit=1>"
DROP = """files => {
    const dataTransfer = new DataTransfer()
    for (const [name, data] of files) {
        const type = name.endsWith(".png") ? "image/png" : ""
        dataTransfer.items.add(new File([Uint8Array.from(atob(data), letter => letter.charCodeAt(0))], name, {type}))
    }
    const place = {clientX: 900, clientY: 500, bubbles: true, cancelable: true}
    app.canvas.canvas.dispatchEvent(new DragEvent("drop", {...place, dataTransfer}))
}"""
NODES = """() => app.graph.nodes.filter(node => node.type.startsWith("Persona")).map(node => {
    const value = name => node.widgets.find(widget => widget.name === name)?.value
    const from = name => node.getInputNode(node.findInputSlot(name))?.type
    return [node.type, value("persona_name") ?? value("placeholder"), ...["persona", "model", "clip"].map(from)]
})"""
LOADER = "CheckpointLoaderSimple"
EMPTY = f"() => {{ app.graph.clear(); app.graph.add(LiteGraph.createNode('{LOADER}')) }}"  # but for that


def drop(page, *files):
    page.evaluate(DROP, [[file.name, base64.b64encode(file.read_bytes()).decode()] for file in files])


@pytest.fixture
def canvas(page):
    """An editor with nothing but a checkpoint."""
    page.wait_for_function("app.graph.nodes.length > 0")  # its own first graph comes late
    page.evaluate(EMPTY)
    return page


@pytest.fixture
def persona(server):
    return put_persona(
        server.base / "models/personas/dropped/Bob #1.safetensors", placeholder="<bob>", fingerprint="b" * 32
    )


def test_a_persona_becomes_load_and_apply(canvas, persona):
    drop(canvas, persona)
    canvas.wait_for_function("app.graph.nodes.length === 3")
    load, apply = canvas.evaluate(NODES)
    assert load[:2] == ["PersonaLoad", "dropped/Bob #1.safetensors"]
    assert apply == ["PersonaApply", "<bob>", "PersonaLoad", LOADER, LOADER]


def test_a_persona_that_is_not_on_the_server_is_told_where_to_lie(canvas, server, persona, tmp_path):
    drop(canvas, put_persona(tmp_path / "stranger.safetensors"))
    folder = server.base / "models/personas"
    expect(toasts(canvas).get_by_text(f"Copy stranger.safetensors to {folder}, press R")).to_be_visible()
    drop(canvas, put_persona(tmp_path / persona.name, fingerprint="c" * 32))  # somebody else of that name
    expect(toasts(canvas).get_by_text(f"Copy {persona.name} to {folder}, press R")).to_be_visible()
    assert canvas.evaluate(NODES) == [] and not list(folder.rglob("stranger*"))


def test_a_server_that_does_not_answer_is_told(canvas, persona):
    canvas.route("**/experiment/models/personas", lambda route: route.abort())
    drop(canvas, persona)
    expect(toasts(canvas).get_by_text("The list of personas could not be read.")).to_be_visible()
    assert canvas.evaluate(NODES) == []


def test_everything_else_is_the_editors(canvas, persona, tmp_path):
    graph = graph_file("load_and_generate").read_text()
    (tmp_path / "graph.json").write_text(graph)
    other = tmp_path / "other.safetensors"
    save_file({"x": zeros(1)}, other, {"workflow": graph})
    (tmp_path / "cut off.safetensors").write_bytes(b"123")
    drop(canvas, tmp_path / "cut off.safetensors")
    for file in (tmp_path / "graph.json", other):
        canvas.evaluate("app.graph.clear()")
        drop(canvas, file)
        canvas.wait_for_function("app.graph.nodes.some(node => node.type === 'KSampler')")
    canvas.evaluate(EMPTY)
    drop(canvas, persona, tmp_path / "graph.json")  # both: the persona first
    canvas.wait_for_function("app.graph.nodes.some(node => node.type === 'KSampler')")


def test_a_picture_that_holds_a_hostile_workflow_is_shown_as_text(canvas, persona, tmp_path):
    graph = json.loads(graph_file("load_and_generate").read_text())
    for node in graph["nodes"]:
        node["title"] = HOSTILE
        if node["type"].startswith("Persona") or node["type"] == "CLIPTextEncode":
            node["widgets_values"][0] = f"../../{HOSTILE}"
    told = PngImagePlugin.PngInfo()
    for key, value in {"workflow": graph, "personas": [{"persona": HOSTILE, "placeholder": HOSTILE}]}.items():
        told.add_text(key, json.dumps(value))
    Image.new("RGB", (8, 8)).save(tmp_path / "picture.png", pnginfo=told)
    drop(canvas, tmp_path / "picture.png")
    canvas.wait_for_function("app.graph.nodes.some(node => node.type === 'KSampler')")
    expect(canvas.get_by_test_id("persona_wrong").get_by_text("must be one word")).to_be_visible()  # the placeholder
    drop(canvas, put_persona(tmp_path / "stranger.safetensors", name=HOSTILE, placeholder="<svg/onload=window.hit=1>"))
    expect(toasts(canvas).get_by_text("Copy stranger.safetensors")).to_be_visible()
    assert canvas.evaluate("window.hit ?? null") is None and not canvas.locator("img[src='x'], svg[onload]").count()
