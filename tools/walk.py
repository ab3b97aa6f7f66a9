"""Walk as a new artist would, from the opened editor to the first picture, and write docs/walk.md with what was seen.

    python -m tools.walk

The editor is the one that set-up installed and the painter the small one: seconds are of this machine, and of no real
checkpoint. Clicks are counted by the browser.
"""

import argparse
import io
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page

from tools.comfy_server import ComfyServer
from tools.environment import PACK
from tools.graph_workflows import open_browser, open_editor
from tools.small_world import GRAPH, NODE_PACK, place_photo

BEFORE = """Before there were previews and a gallery (commit 0325a41, the same machine), as many clicks led to the first
picture, and for 32 of its 35 seconds there was nothing to see of it. To use the person again took a search for each of
two nodes, a choice from a list of files, six wires to draw, and the placeholder to type."""
PLACE = PACK / "docs/walk"
SHOWN = 1120, 630  # pixels
COUNT = """() => {
    window.clicks = 0
    document.addEventListener("pointerdown", () => { window.clicks += 1 }, true)
}"""
SHOWS_PICTURE = """type => {
    const node = app.graph.nodes.find(node => node.type === type)
    return (node.imgs ?? document.querySelectorAll(`[data-node-id="${node.id}"] img`)).length > 0
}"""


class Walk:
    """What was done, at which click and second, with a picture of each step."""

    def __init__(self, page: Page, place: Path):
        self.page, self.place, self.steps, self.began = page, place, [], time.monotonic()
        page.evaluate(COUNT)

    def step(self, said: str, act: Callable[[], object] = lambda: None, shown: bool = False) -> None:
        """Do something, and keep what the editor then looks like, if that is to be shown."""
        act()
        clicks, seconds = self.page.evaluate("window.clicks"), time.monotonic() - self.began
        self.steps.append((said, clicks, seconds, shown))
        if shown:
            began = time.monotonic()
            self.page.wait_for_timeout(700)  # until it is drawn
            picture = Image.open(io.BytesIO(self.page.screenshot())).convert("RGB")
            self.place.mkdir(parents=True, exist_ok=True)
            picture.resize(SHOWN, Image.Resampling.LANCZOS).save(self.place / f"{len(self.steps)}.jpg", quality=75)
            self.began += time.monotonic() - began


def learn(page: Page, walk: Walk) -> None:
    """From the template of the made-up world to the first picture."""
    walk.step("The editor is open.")
    templates = page.get_by_role("button", name="Templates").first
    walk.step("*Templates*.", templates.click)
    dialog = page.get_by_role("dialog")
    walk.step(f"*{NODE_PACK.name}*.", dialog.get_by_text(NODE_PACK.name).click)
    walk.step("The only one there.", page.get_by_test_id(f"template-workflow-{GRAPH.stem}").click, shown=True)
    run = page.get_by_role("button", name="Run", exact=True).first
    page.wait_for_function("app.graph.nodes.some(node => node.type === 'PersonaLearn')")

    def until_forming() -> None:
        run.click()
        page.wait_for_function(SHOWS_PICTURE, arg="PersonaLearn", timeout=120_000)

    walk.step("*Run*. The likeness forms.", until_forming, shown=True)
    walk.step(
        "The first picture.",
        lambda: page.wait_for_function(SHOWS_PICTURE, arg="SaveImage", timeout=300_000),
        shown=True,
    )


def again(page: Page, walk: Walk) -> None:
    """The same person in a workflow of the artist's own."""
    page.evaluate("app.extensionManager.command.execute('Comfy.LoadDefaultWorkflow')")
    page.wait_for_function("app.graph.nodes.some(node => node.type === 'CheckpointLoaderSimple')")
    walk.step("ComfyUI's own workflow is open, with a checkpoint's loader and a prompt.")
    walk.step("*Personas* in the sidebar.", page.get_by_role("button", name="Personas").first.click)
    gallery = page.get_by_test_id("persona_gallery")
    prompt = page.locator("textarea:visible").filter(has_not_text="watermark").first
    walk.step(
        "*Add Load Persona and Apply*.", gallery.get_by_role("button", name="Add Load Persona and Apply").first.click
    )
    walk.step("Into the prompt.", prompt.click)
    walk.step(
        "The persona's word: it stands in the prompt.",
        gallery.get_by_role("button", name="Insert").first.click,
        shown=True,
    )


def table(walk: Walk) -> str:
    lines = ["| | what | clicks | seconds |", "| --- | --- | --- | --- |"]
    lines += [
        f"| {number} | {said} | {clicks} | {seconds:.0f} |"
        for number, (said, clicks, seconds, _) in enumerate(walk.steps, 1)
    ]
    folder = walk.place.relative_to(PACK / "docs")
    pictures = [f"![{said}]({folder}/{number}.jpg)" for number, (said, *_, shown) in enumerate(walk.steps, 1) if shown]
    return "\n".join(lines) + "\n\n" + "\n\n".join(pictures)


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    parts = ["# A walk, from the opened editor to the first picture", __doc__.split("\n\n")[2].strip(), BEFORE]
    with (
        tempfile.TemporaryDirectory() as folder,
        ComfyServer(Path(folder), cpu=True, packs=[NODE_PACK]) as server,
        open_browser() as browser,
    ):
        place_photo(server.base)
        for name, title, go in (("learn", "A person is learned", learn), ("again", "And used again", again)):
            page = browser.new_page(viewport={"width": 1600, "height": 900})
            open_editor(page, server.url)
            walk = Walk(page, PLACE / name)
            go(page, walk)
            parts.append(f"## {title}\n\n{table(walk)}")
            page.close()
    (PACK / "docs/walk.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
