"""Save Generated Picture and Verify Picture as the editor shows them."""

from editor import RUN
from PIL import Image
from playwright.sync_api import expect

from persona_core.provenance import marked_png

NODES = """() => {
    app.graph.clear()
    const [verify, empty, save] = ["PersonaVerifyPicture", "EmptyImage", "PersonaSavePicture"].map(type => {
        const node = LiteGraph.createNode(type)
        app.graph.add(node)
        node.pos = [400 * app.graph.nodes.length, 200]
        return node
    })
    empty.connect(0, save, 0)
    return verify.widgets.map(widget => widget.name)
}"""
CHOOSE = "name => { app.graph.nodes[0].widgets[0].value = name }"


def test_what_they_say_stays_on_the_nodes_as_text(page, server):
    bad = "<img src=x onerror=alert(1)>"
    server.upload_image(marked_png(Image.new("RGB", (8, 8)), {"personas": f'[{{"persona": "{bad}"}}]'}), "marked.png")
    page.wait_for_function("app.graph.nodes.length > 0")  # its own first graph comes late
    assert page.evaluate(NODES)[:2] == ["file", "upload"]
    page.evaluate(CHOOSE, "marked.png")
    ended = page.evaluate(RUN, "PersonaVerifyPicture")
    assert ended["status"] == "execution_success"
    told = page.get_by_test_id("persona_notice").filter(has_text="marked as generated: yes, in its metadata")
    expect(told).to_contain_text(f"personas: '{bad}'")
    expect(page.get_by_test_id("persona_notice").filter(has_text="Marked as generated, not signed")).to_have_count(1)
