"""The gallery in the sidebar: who is there, and what its buttons do."""

import json
import os
import re
import shutil

import pytest
from editor import LOAD, OPEN, RUN, TO_PROMPT, nothing_thrown, toasts
from gallery import open_gallery, put_persona, with_settings
from PIL import Image
from playwright.sync_api import expect
from prompts import FIRST_RELEASE, find

from tools.graph_workflows import graph_file

HOSTILE = "<img src=x onerror=window.hit=1>"
ODD = "Zoë & co. #1 50%?"
CHOOSE = """name => {
    const widget = app.graph.nodes.find(node => node.type === "PersonaLoad").widgets[0]
    widget.value = name
    widget.callback(name)
}"""
PIXEL = """async image => {
    image.scrollIntoView()  // or it is not even loaded where there are many
    await image.decode()
    const canvas = Object.assign(document.createElement("canvas"), {width: 1, height: 1})
    canvas.getContext("2d").drawImage(image, 0, 0, 1, 1)
    return [...canvas.getContext("2d").getImageData(0, 0, 1, 1).data].slice(0, 3).map(value => value > 127)
}"""
RED, BLUE = [True, False, False], [False, False, True]


@pytest.fixture(scope="module")
def personas(server):
    """What the gallery tests look at, in a folder of their own while they run."""
    folder = server.base / "models/personas/gallery"
    settings = with_settings(FIRST_RELEASE / "kv_tokens.safetensors", score=0.8312, preset=HOSTILE)
    put_persona(folder / "red.safetensors", "red", supercategory="woman", placeholder="<red>", **settings)
    put_persona(folder / "red.0123abcd.safetensors", "blue")
    put_persona(folder / "red.0123abcd-2.safetensors")
    put_persona(folder / "red.0123abcd.damaged.safetensors")
    for hidden in ("._red.safetensors", ".trash/red.safetensors"):
        put_persona(folder / hidden)
    nameless = put_persona(folder / "nameless.safetensors")
    os.rename(nameless, os.fsencode(folder) + b"/\xff.safetensors")
    agreed = json.dumps({"by": HOSTILE, "purpose": "portraits", "until": "9999-12-31"})
    put_persona(folder / "agreed.safetensors", consent=agreed)
    ended = json.dumps({"by": "Ann Smith", "on": "2019-01-01", "until": "2020-01-01"})
    put_persona(folder / "ended.safetensors", "red", consent=ended)
    put_persona(folder / "plain.safetensors")
    put_persona(folder / f"{ODD}.safetensors", "blue", placeholder="two words")
    put_persona(folder / f"{HOSTILE}.safetensors", supercategory=HOSTILE, family=HOSTILE)
    (folder / "broken.safetensors").write_bytes(b"broken")
    yield folder
    shutil.rmtree(folder)  # others on this server count hidden files


@pytest.fixture
def gallery(page, personas):
    return open_gallery(page, "gallery/")


def card(gallery, name):
    return gallery.get_by_role("article", name=name, exact=True)


def load(page, name, persona=""):
    """Open one of the workflows, with another persona in Load Persona."""
    graph = json.loads(graph_file(name).read_text())
    for node in graph["nodes"]:
        if node["type"] == "PersonaLoad" and persona:
            node["widgets_values"] = [persona]
    page.evaluate(LOAD, [json.dumps(graph), name])


def test_a_card_tells_who_it_is_as_text(page, personas):
    with nothing_thrown(page):
        gallery = open_gallery(page, "gallery/")
        red = card(gallery, "red")
        for text in ("woman <red>", "SD1.x (clip_l, 768 wide)", "score 0.831"):
            expect(red).to_contain_text(text)
        expect(card(gallery, "plain")).to_contain_text("person <kv_tokens>")
        expect(card(gallery, "plain")).not_to_contain_text("score")
        expect(card(gallery, "broken")).to_contain_text("This file cannot be read as a persona.")
        expect(card(gallery, ODD)).to_contain_text("person <kv_tokens>")
        expect(card(gallery, HOSTILE)).to_contain_text(f"{HOSTILE} <kv_tokens>")
        red.get_by_role("button", name="Info").click()
        expect(red.get_by_text(HOSTILE, exact=True)).to_be_visible()
        expect(red.get_by_text("gallery/red.safetensors")).to_be_visible()
        red.get_by_role("button", name="Info").click()
        expect(red.get_by_text("gallery/red.safetensors")).to_have_count(0)
        assert page.evaluate("window.hit ?? null") is None


def test_a_card_tells_who_agreed_and_until_when(page, gallery):
    agreed = card(gallery, "agreed")
    expect(agreed).to_contain_text(f"Consent: {HOSTILE}, until 9999-12-31")
    agreed.get_by_role("button", name="Info").click()
    expect(agreed.locator("dt", has_text="consent purpose")).to_be_visible()
    expect(agreed.get_by_text("portraits", exact=True)).to_be_visible()
    expect(card(gallery, "ended")).to_contain_text("Consent ended: Ann Smith, 2020-01-01")
    expect(card(gallery, "plain")).not_to_contain_text("Consent")
    load(page, "load_and_generate", "gallery/ended.safetensors")
    expect(page.get_by_test_id("persona_card")).to_contain_text("Consent ended: Ann Smith, 2020-01-01")
    assert page.evaluate("window.hit ?? null") is None


def test_pictures_are_those_beside_the_files(gallery):
    assert card(gallery, "red").locator("img").evaluate(PIXEL) == RED
    assert card(gallery, ODD).locator("img").evaluate(PIXEL) == BLUE
    expect(card(gallery, "plain").locator("img")).to_have_count(0)


def test_older_copies_are_folded_behind_the_newest(gallery):
    copies = [card(gallery, name) for name in ("red.0123abcd", "red.0123abcd-2", "red.0123abcd.damaged")]
    for copy in copies:
        expect(copy).to_be_hidden()
    card(gallery, "red").get_by_role("button", name="3 older copies").click()
    for copy in copies:
        expect(copy).to_contain_text("person <kv_tokens>")
    assert copies[0].locator("img").evaluate(PIXEL) == BLUE


def test_hidden_files_and_names_that_are_no_text_have_no_card(gallery):
    shown = gallery.get_by_role("article", include_hidden=True).evaluate_all("cards => cards.map(one => one.ariaLabel)")
    assert "red" in shown and not [name for name in shown if name.startswith(".") or not name.isprintable()]


def test_search_and_folders(gallery):
    search = gallery.get_by_role("searchbox", name="Search personas")
    folder = gallery.locator("summary", has_text="gallery")
    search.fill("ZOË")
    expect(card(gallery, ODD)).to_be_visible()
    expect(card(gallery, "red")).to_be_hidden()
    search.fill("gallery/")
    expect(card(gallery, "red")).to_be_visible()
    search.fill("nobody at all")
    expect(folder).to_be_hidden()
    expect(gallery.get_by_text("No persona is called so.")).to_be_visible()
    search.fill("")
    folder.click()
    expect(card(gallery, "red")).to_be_hidden()


def test_the_placeholder_goes_to_the_prompts_cursor_and_is_what_runs(page, gallery):
    load(page, "load_and_generate")
    write = card(gallery, "red").get_by_role("button", name="Insert <red>")
    write.click()
    expect(toasts(page).get_by_text("Click into a prompt first")).to_be_visible()
    box = page.locator("textarea").nth(0)
    box.fill("a photo of, smiling")
    box.evaluate("box => box.setSelectionRange(10, 10)")
    page.locator("textarea").nth(1).evaluate("box => box.readOnly = true")  # as a text that is only shown
    page.locator("textarea").nth(1).focus()
    write.click()
    expect(box).to_have_value("a photo of <red>, smiling")
    expect(box).to_be_focused()
    assert "a photo of <red>, smiling" in page.evaluate(TO_PROMPT)


def test_a_placeholder_is_inserted_with_the_keyboard_alone(page, personas):
    load(page, "load_and_generate")
    box = page.locator("textarea").nth(0)
    box.fill("")
    page.get_by_role("button", name="Personas").first.focus()
    page.keyboard.press("Enter")
    page.get_by_role("searchbox", name="Search personas").focus()
    page.keyboard.type("gallery/red")
    red = card(page.get_by_test_id("persona_gallery"), "red")
    expect(red.get_by_role("button", name="Insert")).to_be_visible()  # its facts have come
    for _ in range(4):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.ariaLabel") == "Insert <red> at the prompt's cursor":
            break
    page.keyboard.press("Enter")
    expect(box).to_have_value("<red>")
    page.keyboard.type(" smiles")
    expect(box).to_have_value("<red> smiles")


def test_load_and_apply_stand_between_the_checkpoint_and_what_it_feeds(page, gallery):
    load(page, "learn_and_generate")
    was = json.loads(page.evaluate(TO_PROMPT))
    card(gallery, "red").get_by_role("button", name="Add Load Persona and Apply").click()
    page.wait_for_function("app.graph.nodes.some(node => node.type === 'PersonaLoad')")
    now = json.loads(page.evaluate(TO_PROMPT))
    loader, old = find(was, "CheckpointLoaderSimple"), find(was, "PersonaApply")
    load_id, (new,) = (
        find(now, "PersonaLoad"),
        [key for key in now if key not in was and key != find(now, "PersonaLoad")],
    )
    assert now[load_id]["inputs"] == {"persona_name": "gallery/red.safetensors"}
    given = {"model": [loader, 0], "clip": [loader, 1], "persona": [load_id, 0], "placeholder": "<red>"}
    assert given.items() <= now[new]["inputs"].items()
    was[old]["inputs"] |= {"model": [new, 0], "clip": [new, 1]}  # and learning goes on from the plain checkpoint
    assert {key: now[key]["inputs"] for key in was} == {key: node["inputs"] for key, node in was.items()}


def test_of_two_checkpoints_the_selected_one_is_taken(page, gallery):
    load(page, "load_and_generate")
    add = card(gallery, "red").get_by_role("button", name="Add Load Persona and Apply")
    page.evaluate("""() => {
        window.second = LiteGraph.createNode("CheckpointLoaderSimple")
        app.graph.add(second)
        app.canvas.deselectAll()
    }""")
    applied = """() => {
        const node = app.graph.nodes.filter(node => node.type === "PersonaApply").at(-1)
        return ["model", "clip"].map(name => node.getInputNode(node.findInputSlot(name))?.id ?? null)
    }"""
    add.click()
    expect(toasts(page).get_by_text("Connect a checkpoint's MODEL and CLIP to Apply.")).to_be_visible()
    assert page.evaluate(applied) == [None, None]
    page.evaluate("app.canvas.selectItems([second])")
    add.click()
    page.wait_for_function("app.graph.nodes.filter(node => node.type === 'PersonaApply').length === 3")
    assert page.evaluate(applied) == [page.evaluate("second.id")] * 2


def test_a_persona_that_was_just_saved_is_there_with_its_picture(page, gallery, photo):
    prompt = {
        "1": {"class_type": "PersonaLoad", "inputs": {"persona_name": "gallery/plain.safetensors"}},
        "2": {"class_type": "LoadImage", "inputs": {"image": "photo.png"}},
        "3": {
            "class_type": "PersonaSave",
            "inputs": {"persona": ["1", 0], "picture": ["2", 0], "name": "gallery/just saved"},
        },
    }
    load(page, "load_and_generate")
    page.evaluate(OPEN, [prompt, "save"])
    assert page.evaluate(RUN, "PersonaSave")["status"] == "execution_success"
    saved = card(gallery, "just saved")
    expect(saved).to_contain_text("person <just_saved>")
    assert saved.locator("img").evaluate("image => image.decode().then(() => image.naturalWidth)") == 512
    saved.get_by_role("button", name="Add Load Persona and Apply").click()
    names = "app.graph.nodes.filter(n => n.type === 'PersonaLoad').at(-1).widgets[0].options.values"
    page.wait_for_function(f"{names}.includes('gallery/just saved.safetensors')")


def test_load_persona_shows_whom_it_loads(page, personas):
    shown = page.get_by_test_id("persona_card")
    load(page, "load_and_generate", "gallery/red.safetensors")
    expect(shown).to_contain_text("woman <red>")
    assert shown.locator("img").evaluate(PIXEL) == RED
    assert "persona_card" not in page.evaluate("JSON.stringify(app.graph.serialize())")
    page.evaluate(CHOOSE, "gallery/plain.safetensors")
    expect(shown).to_be_hidden()
    page.evaluate(CHOOSE, f"gallery/{ODD}.safetensors")
    expect(shown).to_contain_text("person <kv_tokens>")
    assert shown.locator("img").evaluate(PIXEL) == BLUE
    Image.new("RGB", (8, 8), "red").save(personas / f"{ODD}.png")
    os.utime(personas / f"{ODD}.png", (1, 1))
    page.wait_for_timeout(300)  # folders are looked through now and then
    page.evaluate("app.refreshComboInNodes()")  # what the R key does
    expect(shown.locator("img")).to_have_attribute("src", re.compile("changed=1(\\.0)?$"))
    assert shown.locator("img").evaluate(PIXEL) == RED
