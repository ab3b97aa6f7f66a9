"""The demo without a checkpoint: somebody of a made-up world is learned, painted in eight prompts and once beside
somebody else, and measured."""

import time
from collections.abc import Iterator

from miniworld import workflow
from miniworld.measuring.asking import PROMPTS, said
from miniworld.measuring.scoring import Examiner
from tools.comfy_server import ComfyServer, Run
from tools.demo_run import RESULTS, collect, follow, tell_results
from tools.demo_sheet import FIGURES, Painted, draw, summary
from tools.small_world import BASE, NODE_PACK, OTHER_PHOTO, PHOTO, people

SHOWN = (
    "a photo of a {}",
    "a {} wearing a red cap",
    "a photo of a {} in a yellow sweater",
    "a {} at the beach",
    "a {} laughing",
    "a photo of a {} on a street at night",
    "a photo of a {} wearing a golden crown in a forest",
    "a photo of a {} laughing, with sunglasses",
)
TWO = "a {0} on the left and a {1} on the right"
WORDS = workflow.WORD, workflow.PLACEHOLDER
ROW = "  {:>6} {:>6}    {:>6} {:>6}    {}"
HEADINGS = f"  {'likeness':>13}    {'as asked':>13}\n" + ROW.format(*WORDS, *WORDS, "prompt")


def learn(server: ComfyServer, learning: dict) -> Run:
    """Run what learns, and tell how long it took."""
    start = time.monotonic()
    run = follow(server, learning)
    print(f"Learned in {time.monotonic() - start:.0f} s.", flush=True)
    return run


def paint(server: ComfyServer, prompt: dict, examiner: Examiner) -> Iterator[tuple[Painted, Painted]]:
    """Each of SHOWN with the plain word and with the persona, from the same noise."""
    for seed, text in enumerate(SHOWN):
        pair = []
        for word in WORDS:
            words = said(text, word)
            picture = workflow.paint(server, workflow.asking(prompt, words, seed))
            scores = examiner.score(picture, [PROMPTS[text]], people()[0])
            pair.append(Painted(words, picture[0], scores.likeness.item(), scores.obeyed.item()))
        yield tuple(pair)


def paint_two(server: ComfyServer, prompt: dict, examiner: Examiner) -> Painted:
    """Both in one picture, the first one left."""
    words = said(TWO, workflow.PLACEHOLDER, workflow.OTHER)
    picture = workflow.paint(server, workflow.asking(workflow.beside(prompt, "bob"), words))
    scores = examiner.score_pair(picture, *people())
    wrong = scores.swapped | scores.merged | scores.missing
    return Painted(words, picture[0], scores.likeness.mean().item(), not wrong.item())


def tell(plain: Painted, learned: Painted) -> None:
    """The figures of a pair on one line."""
    pair = plain, learned
    as_asked = ("yes" if one.as_asked else "no" for one in pair)
    print(ROW.format(*(f"{one.likeness:.2f}" for one in pair), *as_asked, learned.prompt), flush=True)


def main() -> None:
    print(f"Starting ComfyUI (a few seconds); its log is {BASE / 'server.log'}", flush=True)
    (person, other), examiner = people(), Examiner()
    with ComfyServer(BASE, packs=[NODE_PACK]) as server:
        prompt = workflow.learn_and_paint(*workflow.upload(server, person, PHOTO))
        learning = workflow.only_learning(prompt)
        files = collect(server, learn(server, learning), learning)
        files_of_other = workflow.upload(server, other, OTHER_PHOTO)
        learn(server, workflow.only_learning(workflow.learn_and_paint(*files_of_other, PersonaLearn={"name": "bob"})))
        print("Now painting, with the plain word and with the persona.\n")
        print(HEADINGS, flush=True)
        pairs = []
        for pair in paint(server, prompt, examiner):
            tell(*pair)
            pairs.append(pair)
        two = paint_two(server, prompt, examiner)
    plain, learned = zip(*pairs)
    print(f"\nMean: {summary(learned)}; with the plain word: {summary(plain)}.")
    print(f"Both in one picture: {summary([two])}.\n{FIGURES}")
    files.insert(0, RESULTS / "sheet.png")
    draw(person.photo, learned, plain, other.photo, two, files[0])
    tell_results(files)
    print("Look at the first one.")
    print("\nWith a real Stable Diffusion 1.5 checkpoint:\n  CHECKPOINT=/path/to/model.safetensors make demo")
