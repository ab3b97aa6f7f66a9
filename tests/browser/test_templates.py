"""What the pack puts into the editor's lists: templates, the same as forms in app mode, and a blueprint."""

import json
from contextlib import suppress

import pytest
from editor import LOAD, MISSING, RUN, SET_WIDGETS, TO_PROMPT, as_prompt
from playwright.sync_api import TimeoutError, expect
from prompts import API, CHECKPOINT, SMALL, find

from tools.blueprint import BLUEPRINT
from tools.graph_workflows import TEMPLATES, WORKFLOWS, graph_file

FIRST = "learn_and_generate"
PHONE, DESK = {"width": 390, "height": 844}, {"width": 1600, "height": 900}
# Whether a picture of SMALL's size that was saved is on the screen.
PAINTED = """[...document.images].some(
    image => image.src.includes("type=output") && image.naturalWidth === 64 && image.checkVisibility())"""
FOCUSED = "document.activeElement?.matches('input')"  # or the first letters go elsewhere
WIDGETS = "app.graph.nodes[0].widgets.map(widget => [widget.name, widget.value])"
# A photo into the blueprint's node, its picture out, and small settings outside.
CONNECT = """async ([photo, changes]) => {
    const [blueprint] = app.graph.nodes
    const [load, save] = ["LoadImage", "SaveImage"].map(type => app.graph.add(LiteGraph.createNode(type)))
    load.pos = [blueprint.pos[0] - 400, blueprint.pos[1]]
    save.pos = [blueprint.pos[0] + 500, blueprint.pos[1]]
    load.connect(0, blueprint, 0)
    blueprint.connect(0, save, 0)
    load.widgets[0].value = photo
    for (const [name, value] of Object.entries(changes))
        blueprint.widgets.find(widget => widget.name === name).value = value
}"""


def test_each_workflow_has_a_template_and_a_small_picture():
    assert set(TEMPLATES) == {file.stem for file in API.glob("*.json")}
    assert {file.stem for file in WORKFLOWS.glob("*.json")} == set(TEMPLATES.values())
    for name in TEMPLATES:
        assert graph_file(name).with_suffix(".jpg").stat().st_size < 60_000


def test_the_templates_dialog_lists_and_opens_the_workflows(page):
    page.evaluate("app.extensionManager.command.execute('Comfy.BrowseTemplates')")
    dialog = page.get_by_role("dialog")
    dialog.get_by_text("ComfyUI-Persona").click()
    cards = dialog.locator("[data-testid^=template-workflow-]")
    expect(cards).to_have_count(len(TEMPLATES))
    listed = cards.evaluate_all("cards => cards.map(card => card.dataset.testid.split('workflow-')[1])")
    assert sorted(listed) == list(TEMPLATES.values()), "the first one first, sorted by name"
    for picture in cards.locator("img").all():
        picture.scroll_into_view_if_needed()
        expect(picture).to_have_js_property("naturalWidth", 512)
        expect(picture).to_have_js_property("naturalHeight", 512)

    page.get_by_test_id(f"template-workflow-{TEMPLATES[FIRST]}").click()
    page.wait_for_function("app.graph.nodes.some(node => node.type === 'PersonaLearn')")
    page.wait_for_timeout(500)  # a warning about missing nodes would come now
    expect(dialog).to_have_count(0)
    assert page.evaluate(MISSING) == []
    expect(page.get_by_text(TEMPLATES[FIRST]).first).to_be_visible()
    api = json.loads((API / f"{FIRST}.json").read_text())
    assert as_prompt(json.loads(page.evaluate(TO_PROMPT))) == as_prompt(api)


@pytest.mark.parametrize(
    ("name", "asked", "screen"),
    [(FIRST, ["photo", "name"], PHONE), ("load_and_generate", ["persona"], DESK), ("load_and_generate", ["persona"], PHONE)],
)  # fmt: skip
def test_in_app_mode_a_template_is_a_form(page, first_personas, name, asked, screen):
    page.set_viewport_size(screen)
    if not page.evaluate("'activeMode' in app.extensionManager.workflow.activeWorkflow"):
        pytest.skip("this editor has no app mode")
    page.evaluate(LOAD, [graph_file(name).read_text(), TEMPLATES[name]])
    changes = {"PersonaLoad": {"persona_name": first_personas["kv_tokens"]}}
    page.evaluate(SET_WIDGETS, SMALL | changes | {"PersonaLearn": SMALL["PersonaLearn"] | {"name": "form"}})
    form = page.get_by_test_id("linear-widgets")
    expect(form).to_have_count(0)  # it opens as a graph
    page.evaluate("app.extensionManager.command.execute('Comfy.ToggleLinear')")
    if screen is PHONE:
        page.get_by_role("tab", name="Edit & Run").click()
    else:
        page.get_by_role("button", name="Skip").click()  # a tour
    expect(form.get_by_test_id("builder-widget-label")).to_have_text([*asked, "prompt", "seed", "checkpoint"])
    form.locator("textarea").fill("<ann> at sea")
    prompt = json.loads(page.evaluate(TO_PROMPT))
    assert prompt["11"]["inputs"]["text"] == "<ann> at sea"
    page.get_by_role("button", name="Run", exact=True).click()
    if screen is PHONE:
        page.get_by_role("tab", name="Outputs").click()
    page.wait_for_function(PAINTED, timeout=120_000)


def test_the_blueprint_is_found_and_paints(page):
    page.wait_for_function("app.graph.nodes.length > 0")  # its own first graph comes late
    page.evaluate("app.graph.clear()")
    found = page.get_by_text(BLUEPRINT.stem).first
    for wait in (5_000, 5_000, 30_000):  # blueprints may be read after the first search
        page.keyboard.press("Escape")
        page.mouse.dblclick(900, 500)
        with suppress(TimeoutError):  # a busy page takes it for two clicks
            page.wait_for_function(FOCUSED, timeout=wait)
            page.keyboard.type(BLUEPRINT.stem)
            found.wait_for(timeout=wait)
            break
    expect(found).to_be_visible()
    page.wait_for_timeout(500)  # or Enter takes what was first before
    page.keyboard.press("Enter")
    page.mouse.click(900, 600)  # newer editors let you put it down
    page.wait_for_function("app.graph.nodes.length === 1")
    widgets = dict(page.evaluate(WIDGETS))
    assert list(widgets) == ["name", "prompt", "seed", "checkpoint"] and "<ann>" in widgets["prompt"]

    page.evaluate(SET_WIDGETS, {key: one for key, one in SMALL.items() if key != "LoadImage"})
    changes = {"name": "blueprint", "prompt": "<ann> at sea", "seed": 5, "checkpoint": CHECKPOINT}
    page.evaluate(CONNECT, ["photo.png", changes])
    prompt = json.loads(page.evaluate(TO_PROMPT))
    inputs = {kind: prompt[find(prompt, kind)]["inputs"] for kind in ("PersonaLearn", "KSampler", "CLIPTextEncode")}
    assert inputs["PersonaLearn"]["name"] == "blueprint" and inputs["KSampler"]["seed"] == 5
    assert "<ann> at sea" in [one["inputs"].get("text") for one in prompt.values()]
    result = page.evaluate(RUN, "SaveImage")
    assert result["status"] == "execution_success", result["error"]
