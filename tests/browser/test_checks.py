"""What an artist types wrongly is marked at its input, before anything runs."""

import pytest
from editor import OPEN
from playwright.sync_api import expect
from prompts import workflow

WIDGET = (
    """([type, name]) => app.graph.nodes.find(node => node.type === type)?.widgets.find(one => one.name === name)"""
)
SET = f"""([type, name, value]) => {{
    const widget = ({WIDGET})([type, name])
    widget.value = value
    widget.callback?.(value)
}}"""
MARKED = f"""([type, name]) => {{
    const id = app.graph.nodes.find(node => node.type === type).id
    const drawn = document.querySelector(`[data-node-id="${{id}}"]`)
    if (!drawn) return ({WIDGET})([type, name]).label === "⚠ " + name
    const input = [...drawn.querySelectorAll("input")].find(one => one.ariaLabel === name)
    return input.ariaInvalid === "true" && input.title !== ""
}}"""


@pytest.mark.parametrize(
    ("type", "name", "value", "says"),
    [
        ("PersonaLearn", "name", "", "The persona's name is empty."),
        ("PersonaLearn", "supercategory", "a very fluffy red cat", "makes 5 tokens in the text encoders of SD1.x"),
        ("PersonaApply", "placeholder", "a:b", "must not hold brackets, colons"),
    ],
)
def test_it_is_marked_and_unmarked(page, type, name, value, says):
    page.evaluate(OPEN, [workflow(), "checks"])
    line = page.get_by_test_id("persona_wrong")
    right = page.wait_for_function(f"of => ({WIDGET})(of)", arg=[type, name]).get_property("value").json_value()
    page.evaluate(SET, [type, name, value])
    expect(line.get_by_text(says)).to_be_visible()
    page.wait_for_function(MARKED, arg=[type, name])
    page.evaluate(SET, [type, name, right])
    expect(line.get_by_text(says)).to_have_count(0)
    assert not page.evaluate(MARKED, [type, name])


def test_a_word_of_several_tokens_is_marked_where_there_are_fewer(page):
    page.evaluate(OPEN, [workflow(), "checks"])
    line = page.get_by_test_id("persona_wrong").get_by_text("Set tokens to 4, or use a simpler word")
    page.wait_for_function(f"of => ({WIDGET})(of)", arg=["PersonaLearn", "tokens"])
    page.evaluate(SET, ["PersonaLearn", "supercategory", "axolotl"])
    page.evaluate(SET, ["PersonaLearn", "tokens", 3])
    expect(line).to_be_visible()
    page.wait_for_function(MARKED, arg=["PersonaLearn", "supercategory"])
    page.evaluate(SET, ["PersonaLearn", "tokens", 4])
    expect(line).to_have_count(0)
    assert not page.evaluate(MARKED, ["PersonaLearn", "supercategory"])


def test_a_widget_that_another_overrides_says_so(page):
    page.evaluate(OPEN, [workflow(), "checks"])
    line = page.get_by_test_id("persona_overridden")
    expect(line).to_have_text(
        "Instead of what the preset says: steps 4, learning_rate 0.0001, batch_size 2.\nNothing is measured."
    )
    for name, value in {"steps": 0, "learning_rate": 0, "batch_size": 0, "minutes": 3, "preset": "quick"}.items():
        page.evaluate(SET, ["PersonaLearn", name, value])
    expect(line).to_have_text("minutes is for the preset auto without steps.")
    page.evaluate(SET, ["PersonaLearn", "preset", "auto"])
    expect(line).to_have_text("")
