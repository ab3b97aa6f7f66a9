"""The demo without a checkpoint: somebody of a made-up world is learned, painted in eight prompts, and measured."""

import time
from collections.abc import Iterator

from tools.comfy_server import ComfyServer
from tools.demo_run import RESULTS, collect, follow, tell_results
from tools.demo_sheet import FIGURES, Painted, draw, summary
from tools.small_world import BASE, NODE_PACK, PERSON, PHOTO, measuring, workflow

WORDS = workflow.WORD, workflow.PLACEHOLDER
ROW = "  {:>6} {:>6}    {:>6} {:>6}    {}"
HEADINGS = f"  {'likeness':>13}    {'as asked':>13}\n" + ROW.format(*WORDS, *WORDS, "prompt")


def paint(server: ComfyServer, prompt: dict) -> Iterator[tuple[Painted, Painted]]:
    """Each of measuring.PROMPTS with the plain word and with the persona, from the same noise."""
    examiner = measuring.Examiner()
    for seed, (text, wanted) in enumerate(measuring.PROMPTS.items()):
        pair = []
        for word in WORDS:
            said = text.replace("{}", word)
            picture = workflow.paint(server, workflow.asking(prompt, said, seed))
            scores = examiner.score(picture, [wanted], PERSON)
            pair.append(Painted(said, picture[0], scores.likeness.item(), scores.obeyed.item()))
        yield tuple(pair)


def tell(plain: Painted, learned: Painted) -> None:
    """The figures of a pair on one line."""
    pair = plain, learned
    as_asked = ("yes" if one.as_asked else "no" for one in pair)
    print(ROW.format(*(f"{one.likeness:.2f}" for one in pair), *as_asked, learned.prompt), flush=True)


def main() -> None:
    print(f"Starting ComfyUI (a few seconds); its log is {BASE / 'server.log'}", flush=True)
    with ComfyServer(BASE, packs=[NODE_PACK]) as server:
        prompt = workflow.learn_and_paint(server.upload_image(workflow.photo_file(PERSON), PHOTO))
        learning, start = workflow.only_learning(prompt), time.monotonic()
        run = follow(server, learning)
        print(f"Learned in {time.monotonic() - start:.0f} s. Now painting, with the plain word and with the persona.\n")
        files = collect(server, run, learning)
        print(HEADINGS, flush=True)
        pairs = []
        for pair in paint(server, prompt):
            tell(*pair)
            pairs.append(pair)
    plain, learned = zip(*pairs)
    print(f"\nMean: {summary(learned)}; with the plain word: {summary(plain)}.\n{FIGURES}")
    files.insert(0, RESULTS / "sheet.png")
    draw(PERSON.photo, learned, plain, files[0])
    tell_results(files)
    print("Look at the first one.")
    print("\nWith a real Stable Diffusion 1.5 checkpoint:\n  CHECKPOINT=/path/to/model.safetensors make demo")
