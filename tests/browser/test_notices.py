"""What a node says: it stays until somebody has read it, and whatever it holds, it is text."""

import json
import shutil

import pytest
from editor import OPEN, RUN, nothing_thrown, opened, toasts
from playwright.sync_api import expect
from prompts import FIRST_RELEASE, find, only, workflow
from safetensors import safe_open
from safetensors.torch import load_file, save_file

HOSTILE = "<img src=x onerror=window.hit=1> <svg/onload=window.hit=2> <b>bold</b> [[[link|https://example.com/]]"
SAVED = "() => JSON.stringify(app.graph.serialize())"
HIT = "() => window.hit ?? null"


def open_and_run(page, api: dict, shows: str = "") -> dict:
    """Load a prompt in API form into the editor, run it there to its end, and let the editor finish with the job."""
    page.evaluate(OPEN, [api, "notices"])
    result = page.evaluate(RUN, shows)
    page.wait_for_timeout(1000)  # what is taken away at the end of a job is gone by now, and a picture's error has come
    return result


@pytest.fixture
def line(page):
    """The lines that nodes show."""
    return page.get_by_test_id("persona_notice")


def applying(first_personas, **inputs) -> dict:
    persona = {"persona_name": first_personas["kv_tokens"]}
    return workflow("load_and_generate", {"PersonaLoad": persona, "PersonaApply": inputs})


def test_a_warning_stays_after_the_job_with_its_placeholder(page, first_personas):
    prompt = applying(first_personas, placeholder="<somebody>", strength=0.7)
    for _ in range(2):
        result = open_and_run(page, prompt)
        assert result["status"] == "execution_success", result["error"]
        prompt[find(prompt, "KSampler")]["inputs"]["seed"] += 1  # or the sampler would have nothing to do
    toast = toasts(page).get_by_text("No prompt of this sampler holds <somebody>: it paints without that persona.")
    expect(toast).to_have_count(1)  # told twice, to be read once
    expect(toast).to_be_visible()
    assert "<somebody>: it" not in page.evaluate(SAVED)


def test_what_was_learned_stays_on_its_node_until_it_runs_again_and_is_not_saved(page, line):
    prompt = only(workflow(changes={"PersonaLearn": {"name": "noticed"}}), "PersonaLearn")
    result = open_and_run(page, prompt, "PersonaLearn")
    assert result["status"] == "execution_success", result["error"]
    text = "Learned 'noticed'; saved as noticed.safetensors"
    assert any("step 1/4, loss" in shown for shown in result["shown"])
    expect(line.get_by_text(text, exact=True)).to_be_visible()
    expect(line.get_by_text("Face in 1 of 1 picture, by the built-in cascade.")).to_be_visible()
    assert text not in page.evaluate(SAVED)
    values = "() => app.graph.nodes.map(node => [node.type, node.serialize().widgets_values])"
    known = {"PersonaLearn": 21, "PersonaFaceMask": 5}
    for kind, saved in page.evaluate(values):
        assert kind not in known or len([one for one in saved if one is not None]) <= known[kind] + 1, (kind, saved)

    page.evaluate(
        "() => app.graph.nodes.find(n => n.type === 'PersonaLearn').widgets.find(w => w.name === 'reuse').value = false"
    )
    cleared = """() => new Promise(done => app.api.addEventListener("executing", ({detail}) => setTimeout(() => {
        const node = app.graph.nodes.find(node => node.type === "PersonaLearn")
        if (String(detail) === String(node.id)) done(node.widgets.find(w => w.name === "persona_notice").element.textContent)
    })))"""
    page.evaluate(f"() => {{ window.cleared = ({cleared})() }}")
    assert page.evaluate(RUN, "")["status"] == "execution_success"
    assert page.evaluate("() => window.cleared") == ""


SAYS = {"1": {"class_type": "PersonaSaysAnything", "inputs": {"text": "still here"}}}
COMMAND = "name => app.extensionManager.command.execute(name)"
INTO_SUBGRAPH = """() => {
    const made = app.canvas.graph.convertToSubgraph(new Set(app.graph.nodes))
    return String((made.node ?? made).id)
}"""
# The text of the only line, in whatever graph its node is, and the ids under which the editor keeps what it says.
ITS_LINE = """() => {
    const root = app.rootGraph ?? app.graph
    const nodes = [...root.nodes, ...root.nodes.flatMap(node => node.subgraph?.nodes ?? [])]
    const says = nodes.find(node => node.type === "PersonaSaysAnything")
    return says?.widgets.find(widget => widget.name === "persona_notice").element.textContent
}"""
KEPT = "() => Object.values(app.nodeOutputs).filter(output => output?.persona_notice).length"


def test_a_line_comes_back_with_its_workflow(page):
    open_and_run(page, SAYS)
    assert page.evaluate(ITS_LINE) == "still here"
    page.evaluate(COMMAND, "Comfy.NewBlankWorkflow")
    page.wait_for_function("() => app.graph.nodes.length === 0")
    page.evaluate(COMMAND, "Workspace.PreviousOpenedWorkflow")
    page.wait_for_function("() => app.graph.nodes.length === 1")
    page.wait_for_function(KEPT)
    assert page.evaluate(ITS_LINE) == "still here"


def test_a_node_in_a_subgraph_says_its_line_and_how_far_it_is(page):
    heard = []
    with nothing_thrown(page):
        says = {"1": {**SAYS["1"], "inputs": {"text": "inside"}}}  # or the server knew what it says
        page.evaluate(OPEN, [says, "notices"])
        subgraph = page.evaluate(INTO_SUBGRAPH)
        page.expose_function("hear", lambda detail: heard.append(detail))
        page.evaluate("""() => app.api.addEventListener("persona.progress", ({detail}) => window.hear(detail))""")
        assert page.evaluate(RUN, "")["status"] == "execution_success"
        page.wait_for_timeout(500)
        assert page.evaluate(ITS_LINE) == "inside"
        assert [(one["node"], one["text"]) for one in heard] == [(f"{subgraph}:1", "inside")]
        expect(toasts(page).get_by_text("inside", exact=True)).to_be_visible()  # the warning


def test_nobody_elses_editor_hears_what_is_learned(page, server):
    """The host sends progress to every open editor unless it is told to whom."""
    heard = []
    page.evaluate(OPEN, [SAYS, "notices"])
    page.on("websocket", lambda socket: socket.on("framereceived", lambda frame: heard.append(frame)))
    page.reload()
    page.wait_for_function("() => window.app?.graph")
    for client in ("another", None):
        ended = server.submit({**SAYS, "1": {**SAYS["1"], "inputs": {"text": f"secret of {client}"}}}, client_id=client)
        while ended not in server.get("/history"):
            page.wait_for_timeout(100)
    page.wait_for_timeout(500)
    assert heard and not any("secret" in str(frame) for frame in heard)


@pytest.fixture
def hostile(server, first_personas):
    """Persona files that somebody made to run script in the editor; their names in the server's list."""
    folder = server.base / "models/personas/hostile"
    folder.mkdir(exist_ok=True)
    source = FIRST_RELEASE / "kv_tokens.safetensors"
    with safe_open(source, "pt") as file:
        metadata = file.metadata()
    names = {}
    for key in metadata:
        value = HOSTILE
        if key in ("settings", "losses"):
            value = json.dumps(json.loads(metadata[key]) | {HOSTILE: HOSTILE if key == "settings" else [1.0]})
        save_file(load_file(source), folder / f"{key}.safetensors", {**metadata, key: value})
        names[key] = f"hostile/{key}.safetensors"
    odd = "<img src=x onerror=window.hit=4>.safetensors"
    shutil.copy(source, folder / odd)
    names["file"] = f"hostile/{odd}"
    return names


class TestNothingIsReadAsHtml:
    @pytest.fixture(autouse=True)
    def unhit(self, page):
        yield
        assert page.evaluate(HIT) is None
        assert page.locator("img[src='x'], svg[onload]").count() == 0
        assert page.get_by_role("link", name="link", exact=True).count() == 0

    def test_status_text_notices_and_ui_text(self, page, line):
        says = {
            "1": {"class_type": "PersonaSaysAnything", "inputs": {"text": HOSTILE}},
            "2": {"class_type": "PreviewAny", "inputs": {"source": ["1", 0]}},
        }
        assert open_and_run(page, says)["status"] == "execution_success"
        assert line.first.inner_text() == HOSTILE
        expect(page.get_by_text(HOSTILE, exact=True).first).to_be_visible()

    def test_a_nodes_title(self, page):
        says = {"1": {"class_type": "PersonaSaysAnything", "inputs": {"text": "said"}}}
        page.evaluate(OPEN, [says, "notices"])
        page.evaluate("title => { app.graph.nodes[0].title = title }", HOSTILE)
        assert page.evaluate(RUN, "")["status"] == "execution_success"
        expect(page.get_by_text(HOSTILE, exact=True).first).to_be_visible()
        page.wait_for_timeout(500)

    @pytest.mark.parametrize("placeholder", [HOSTILE, "<svg/onload=window.hit=3>"])
    def test_a_placeholder(self, page, first_personas, placeholder):
        result = open_and_run(page, applying(first_personas, placeholder=placeholder))
        assert result["status"] == "execution_error" and placeholder in result["error"]

    def test_the_placeholder_of_a_shared_workflow_that_no_prompt_holds(self, page, first_personas):
        """The hole that there was: it ran when the warning came."""
        result = open_and_run(page, applying(first_personas, placeholder="<img/src/onerror>"))
        assert result["status"] == "execution_success"
        expect(page.get_by_text("No prompt of this sampler holds <img/src/onerror>:").last).to_be_visible()

    @pytest.mark.parametrize("given", ["name", "supercategory"])
    def test_an_error_that_quotes_it(self, page, given):
        prompt = only(workflow(changes={"PersonaLearn": {given: HOSTILE}}), "PersonaLearn")
        result = open_and_run(page, prompt)
        assert result["status"] == "execution_error" and "<img src=x" in result["error"]

    def test_a_personas_metadata(self, page, hostile):
        for key, file in hostile.items():
            info = {
                "1": {"class_type": "PersonaLoad", "inputs": {"persona_name": file}},
                "2": {"class_type": "PersonaInfo", "inputs": {"persona": ["1", 0]}},
                "3": {"class_type": "PreviewAny", "inputs": {"source": ["2", 0]}},
            }
            page.evaluate(OPEN, [info, "notices"])
            page.evaluate(RUN, "")
            page.wait_for_timeout(300)
            assert page.evaluate(HIT) is None, key
        result = open_and_run(page, applying({"kv_tokens": hostile["family"]}))
        assert result["status"] == "execution_error" and "onerror" in result["error"]
        result = open_and_run(page, applying({"kv_tokens": "<img src=x onerror=window.hit=5>"}))
        assert result["status"] == "refused"


def test_what_fails_in_the_browser_fails_the_test(browser, server):
    """Or no error in the console would be told by no test."""
    throws = "setTimeout(new Function('throw Error(1) //# sourceURL=/extensions/ComfyUI-Persona/js/x.js'))"
    for event, fails in {"pageerror": throws, "response": "fetch('/extensions/ComfyUI-Persona/js/missing.js')"}.items():
        with pytest.raises(AssertionError, match="ComfyUI-Persona"), opened(browser, server.url) as page:
            with page.expect_event(event):
                page.evaluate(fails)
