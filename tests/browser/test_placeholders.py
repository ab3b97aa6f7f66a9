"""Which word stands for whom: shown, offered while typing, and marked where a prompt and an Apply do not meet."""

import re
import shutil

import pytest
from editor import OPEN
from PIL import Image
from playwright.sync_api import expect
from prompts import FIRST_RELEASE, find, workflow
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from persona_core.host.placeholder import whole
from persona_core.persona import placeholder_of

PROMPT = "a photo of <ann> wearing a Santa hat"
TITLES = "() => app.graph.nodes.filter(node => node.type === 'PersonaApply').map(node => node.title)"
ITS_PROMPT = "() => app.graph.nodes.filter(n => n.type === 'CLIPTextEncode').map(n => n.widgets[0].value)"
USUAL = "Apply Stage-Regulated Embedding"


@pytest.fixture
def called_zoe(server):
    """A persona whose file says which word it was made for; its name in the list."""
    source = FIRST_RELEASE / "kv_tokens.safetensors"
    with safe_open(source, "pt") as file:
        metadata = {**file.metadata(), "placeholder": "<zoe>"}
    folder = server.base / "models/personas"
    folder.mkdir(exist_ok=True)
    save_file(load_file(source), folder / "called_zoe.safetensors", metadata)
    Image.new("RGB", (8, 8), "red").save(folder / "called_zoe.png")
    return "called_zoe.safetensors"


def opened(page, persona: str, placeholder: str, text: str = PROMPT) -> None:
    """A graph with one Apply and this prompt, open and seen whole."""
    api = workflow("load_and_generate", {"PersonaLoad": {"persona_name": persona}})
    api[find(api, "PersonaApply")]["inputs"]["placeholder"] = placeholder
    api[find(api, "CLIPTextEncode")]["inputs"]["text"] = text
    page.evaluate(OPEN, [api, "placeholders"])
    page.evaluate("() => app.graph.arrange()")
    page.evaluate("name => app.extensionManager.command.execute(name)", "Comfy.Canvas.FitView")


def boxes(page):
    return page.locator("textarea:visible")


def holding(page, text: str):
    for _ in range(50):  # Nodes 2.0 fills them a while after it has drawn them
        for one in boxes(page).all():
            if one.input_value() == text:
                return one
        page.wait_for_timeout(100)
    raise AssertionError([one.input_value() for one in boxes(page).all()])


def test_an_apply_shows_its_persona_s_own_word(page, called_zoe):
    opened(page, called_zoe, "")
    page.wait_for_function(f"title => ({TITLES})()[0] === title", arg=f"<zoe>: {USUAL}")
    opened(page, called_zoe, "<bob>")
    page.wait_for_function(f"title => ({TITLES})()[0] === title", arg=f"<bob>: {USUAL}")
    saved = "() => app.graph.serialize().nodes.find(node => node.type === 'PersonaApply').title"
    assert page.evaluate(saved) is None  # or each workflow that is opened would be a changed one
    page.evaluate("() => { app.graph.nodes.find(node => node.type === 'PersonaApply').title = 'Mine' }")
    page.wait_for_timeout(700)
    assert page.evaluate(TITLES) == ["Mine"]


def test_the_word_of_a_name_is_the_same_in_the_editor(page):
    names = [
        "Ann",
        "Anna Maria",
        "ann-2",
        "安娜",
        "123",
        "--",
        "É.t.é",
        "<img src=x>",
        "मीरा",
        "Rene\u0301",
        " ann.safetensors",
    ]
    words = "async names => names.map((await import('/extensions/ComfyUI-Persona/js/graph.js')).placeholderOf)"
    assert page.evaluate(words, names) == [placeholder_of(name) for name in names]


def test_a_prompt_and_an_apply_that_do_not_meet_are_marked(page, called_zoe):
    opened(page, called_zoe, "<bob>")
    unused = page.get_by_test_id("persona_unused")
    expect(unused).to_have_text("No prompt holds <bob>: write it where the person belongs.")
    prompt = holding(page, PROMPT)
    expect(prompt).to_have_attribute("aria-invalid", "true")
    expect(prompt).to_have_attribute("title", "Nobody here is <ann>. The Apply before this prompt knows <bob>.")
    prompt.fill("a photo of <bob>")
    expect(unused).to_have_text("")
    expect(prompt).not_to_have_attribute("aria-invalid", "true")
    expect(prompt).to_have_attribute("title", "")
    page.evaluate("""() => {
        const apply = app.graph.nodes.find(node => node.type === "PersonaApply")
        apply.disconnectOutput(1)
    }""")
    expect(unused).to_have_text("")  # prompts without any CLIP: another pack may give it


def test_typing_offers_the_words_that_the_prompt_knows(page, called_zoe):
    opened(page, called_zoe, "", "a photo of ")
    page.wait_for_function(f"() => ({TITLES})()[0].startsWith('<zoe>')")
    prompt = holding(page, "a photo of ")
    prompt.focus()
    prompt.press("End")
    page.keyboard.type("<")
    expect(page.get_by_role("option")).to_have_text(["<zoe>"])
    expect(page.get_by_role("option").locator("img")).to_be_visible()
    page.keyboard.press("Enter")
    page.keyboard.type(" at the beach")
    expect(page.get_by_role("option")).to_have_count(0)
    assert prompt.input_value() == "a photo of <zoe> at the beach"
    page.keyboard.type(", <z")
    page.get_by_role("option").click()
    page.wait_for_timeout(300)
    assert "a photo of <zoe> at the beach, <zoe>" in page.evaluate(ITS_PROMPT)
    page.keyboard.type(" <x")
    expect(page.get_by_role("option")).to_have_count(0)


def test_a_hostile_word_is_offered_as_text(page, server, called_zoe):
    shutil.copy(FIRST_RELEASE / "kv_tokens.safetensors", server.base / "models/personas/worded.safetensors")
    hostile = "<svg/onload=window.hit=1>"
    opened(page, "worded.safetensors", hostile, "a photo of ")
    prompt = holding(page, "a photo of ")
    prompt.focus()
    prompt.press("End")
    page.keyboard.type("<svg")
    expect(page.get_by_role("option")).to_have_text([hostile])
    assert page.evaluate("() => window.hit ?? null") is None


HOLDS = """async ([text, word]) => {
    const apply = app.graph.nodes.find(node => node.type === "PersonaApply")
    const prompt = app.graph.nodes.find(node => node.type === "CLIPTextEncode")
    apply.widgets.find(widget => widget.name === "placeholder").value = word
    prompt.widgets[0].value = text
}"""


@pytest.mark.parametrize(
    ("text", "word", "there"),
    [
        ("一张安娜的照片", "安娜", True),
        ("planned", "ann", False),
        ("an ann, smiling", "ann", True),
        ("x<ann>y", "<ann>", True),
    ],
)
def test_a_word_is_found_as_the_server_finds_it(page, called_zoe, text, word, there):
    opened(page, called_zoe, "")
    page.evaluate(HOLDS, [text, word])
    assert bool(re.search(whole(word), text)) == there
    expect(page.get_by_test_id("persona_unused")).to_have_text("" if there else re.compile(f"No prompt holds {word}"))


def test_what_a_subgraph_holds_is_left_open(page, called_zoe):
    """Its Apply may stand before a prompt outside, which is not marked then."""
    opened(page, called_zoe, "<ann>")
    page.evaluate("""() => {
        const inside = app.graph.nodes.filter(node => ["PersonaLoad", "PersonaApply"].includes(node.type))
        app.canvas.graph.convertToSubgraph(new Set(inside))
    }""")
    page.wait_for_timeout(1000)
    assert page.evaluate(ITS_PROMPT) != []
    expect(page.locator("[aria-invalid=true]")).to_have_count(0)
