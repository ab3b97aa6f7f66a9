"""How a persona forms is seen on its node while it is learned."""

from editor import RUN, nothing_thrown, opened

from miniworld import workflow
from tools.small_world import people

OPEN = "api => app.loadApiJson(api, 'forming')"
# What the node of this class shows from now on: its pictures' width and height.
WATCH = """type => {
    window.seen = new Set()
    setInterval(() => {
        const node = app.graph.nodes.find(node => node.type === type)
        const drawn = node.imgs ?? document.querySelectorAll(`[data-node-id="${node.id}"] img`)
        for (const image of drawn) if (image.naturalWidth) seen.add(`${image.naturalWidth}x${image.naturalHeight}`)
    }, 20)
}"""


def test_a_persona_is_seen_on_its_node_as_it_forms(browser, painter):
    files = workflow.upload(painter, people()[0], "forming")
    settings = {"name": "seen", "preset": "balanced", "steps": 17, "resolution": 64}
    prompt = workflow.only_learning(workflow.learn_and_paint(*files, PersonaLearn=settings))
    with opened(browser, painter.url) as page, nothing_thrown(page):
        page.evaluate(OPEN, prompt)
        page.evaluate(WATCH, "PersonaLearn")
        result = page.evaluate(RUN, "PersonaLearn")
        seen = page.evaluate("() => [...seen]")
    assert result["status"] == "execution_success", result["error"]
    assert "341x512" in seen, seen
    assert any("likeness forming" in shown for shown in result["shown"])
