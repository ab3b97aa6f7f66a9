"""Draw the templates' pictures: a photo and what comes of it, as the small painter learns and paints it.

    python -m tools.thumbnails

It takes some minutes. Of each prompt PICTURES are painted, and which is shown was chosen by eye: look at them after
each change.
"""

import io
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, ImageOps

from miniworld import workflow
from miniworld.measuring.subjects import subject
from persona_core.charts import SHADE
from persona_core.noise import FlowSchedule, same_noise, usual
from persona_core.stages import TIMESTEPS, Stages
from tools.comfy_server import ComfyServer
from tools.graph_workflows import GRAPH, graph_file
from tools.small_world import NODE_PACK, OTHER_PHOTO, PHOTO, people

SIZE, GAP, PICTURES = 512, 8, 6
CELL = (SIZE - 3 * GAP) // 2  # of two by two
PAPER, INK = "white", "#1d1d22"
CAP = "a photo of <ann> wearing a red cap in a garden by day"
CROWN = "a photo of <ann> wearing a golden crown in a forest by day"
SNOW = "a photo of <ann> in a yellow sweater, in the snow"
NIGHT = "a photo of <ann> with sunglasses on a street at night"
CAT = "a photo of <ann> and an orange cat in a garden by day"
BEACH = "a photo of <ann> laughing at the beach by day"
LIBRARY = "a photo of <ann> wearing a purple hat in a library"
KEPT = 5, 0  # of eight
TWO = "a photo of <ann> on the left and <bob> on the right in a garden by day"


class Painter:
    """The server on which both people were uploaded."""

    def __init__(self, server: ComfyServer):
        self.server = server
        two = people()[0], subject(9, "demo")
        self.ann, self.bob = (workflow.upload(server, *one) for one in zip(two, (PHOTO, OTHER_PHOTO)))
        self.photos = [Image.open(io.BytesIO(workflow.photo_files(one, "photo")["photo.png"])) for one in two]

    def learning(self, name: str = workflow.PERSONA_MAGIC, **changes: dict) -> dict:
        latents = {"width": workflow.SIZE, "height": workflow.SIZE, "batch_size": PICTURES}
        return workflow.learn_and_paint(*self.ann, name, EmptyLatentImage=latents, **changes)

    def painted(self, prompt: dict, text: str, seed: int, chosen: int) -> Image.Image:
        picture = workflow.paint(self.server, workflow.asking(prompt, text, seed))[chosen]
        return Image.fromarray(picture.movedim(0, -1).mul(255).round().byte().numpy())

    def shown(self, prompt: dict, node: str) -> Image.Image:
        """What this node shows on itself."""
        run = self.server.run(prompt)
        if run.status != "success":
            raise RuntimeError(f"{run.error_type}: {run.error}")
        return Image.open(io.BytesIO(self.server.view(run.outputs[node]["images"][0]))).convert("RGB")


def two_by_two(*pictures: Image.Image) -> Image.Image:
    sheet = Image.new("RGB", (SIZE, SIZE), PAPER)
    for index, picture in enumerate(pictures):
        place = [GAP + one * (CELL + GAP) for one in (index % 2, index // 2)]
        sheet.paste(picture.resize((CELL, CELL), Image.Resampling.BICUBIC), tuple(place))
    return sheet


def put_print(sheet: Image.Image, photo: Image.Image, size: int, left: int, top: int) -> None:
    """The photo as a print, with a white border, on top of the rest."""
    small = photo.resize((size - 2 * GAP, size - 2 * GAP), Image.Resampling.LANCZOS)
    sheet.paste(ImageOps.expand(small, GAP, PAPER), (left, top))


def put_arrow(sheet: Image.Image) -> None:
    """From the first of two by two to the one beside it."""
    x, y, radius = SIZE // 2, GAP + CELL // 2, 26
    pen = ImageDraw.Draw(sheet)
    pen.ellipse((x - radius, y - radius, x + radius, y + radius), PAPER)
    pen.line((x - 14, y, x + 6, y), INK, 6)
    pen.polygon([(x + 2, y - 12), (x + 2, y + 12), (x + 17, y)], INK)


def each_in_their_half(prompt: dict) -> dict:
    """With the masks of the template for two people."""
    two = json.loads((workflow.WORKFLOWS / "two_people.json").read_text())
    masks = {key: two[key] for key in ("22", "23", "24", "25")}
    for key, width in (("22", workflow.SIZE), ("23", workflow.SIZE // 2)):
        masks[key]["inputs"] |= {"width": width, "height": workflow.SIZE}
    for key in ("10", "19"):
        prompt[key]["inputs"]["mask"] = two[key]["inputs"]["mask"]
    return prompt | masks


def with_persona(painter: Painter) -> Iterator[tuple[str, Image.Image]]:
    """Those of the first method, with the persona that the first of them learns."""
    photo, other = painter.photos
    prompt = painter.learning()
    cap = painter.painted(prompt, CAP, 100, 5)
    pictures = [painter.painted(prompt, *one) for one in ((CROWN, 102, 2), (CAT, 105, 1))]
    first = two_by_two(photo, cap, *pictures)
    put_arrow(first)
    yield "learn_and_generate", first
    yield GRAPH.stem, first

    asked = (BEACH, 101, 1), (NIGHT, 104, 1), (SNOW, 103, 5), (LIBRARY, 106, 4)
    around = two_by_two(*(painter.painted(prompt, *one) for one in asked))
    put_print(around, photo, 136, (SIZE - 136) // 2, (SIZE - 136) // 2)
    yield "load_and_generate", around

    bob = workflow.learn_and_paint(*painter.bob, PersonaLearn={"name": "bob"})
    painter.server.run(workflow.only_learning(bob))
    both = painter.painted(each_in_their_half(workflow.beside(prompt, "bob")), TWO, 201, 3)
    both = both.resize((SIZE, SIZE), Image.Resampling.BICUBIC)
    put_print(both, photo, 150, 12, SIZE - 162)
    put_print(both, other, 150, SIZE - 162, SIZE - 162)
    yield "two_people", both


def with_tokens(painter: Painter) -> Image.Image:
    """Below, where two of the words look: the person's, and the cap."""
    name = workflow.KV_TOKENS
    prompt = painter.learning(name, PersonaKVTokens={"name": "ann_kv"})
    text = "a photo of <ann> wearing a red cap"
    watched = {"text": text, "negative": "", "seed": 3, "latent_image": ["one", 0]}
    watching = json.loads((workflow.WORKFLOWS / f"{name}.json").read_text())["17"]
    watching["inputs"] |= {key: value for key, value in workflow.sampler(prompt).items() if key in watching["inputs"]}
    watching["inputs"] |= watched
    latents = {"width": workflow.SIZE, "height": workflow.SIZE, "batch_size": 1}
    more = {"one": {"class_type": "EmptyLatentImage", "inputs": latents}, "17": watching}
    grid = painter.shown(prompt | more, "17")
    words = text.split()
    cell, line = grid.width // (1 + len(words)), grid.height // 3 - grid.width // (1 + len(words))
    left = [(1 + words.index(word)) * cell for word in ("<ann>", "cap")]
    maps = [grid.crop((x, line, x + cell, line + cell)) for x in left]
    sheet = two_by_two(painter.photos[0], painter.painted(prompt, CAP, 100, 2), *maps)
    put_arrow(sheet)
    return sheet


def with_stages(painter: Painter) -> Image.Image:
    """Below, the curve that the stage is read from."""
    settings = {"supercategory": workflow.WORD, "resolution": workflow.SIZE}
    prompt = painter.learning(
        "stages_from_attention", PersonaStagePartition=settings, PersonaLearn={"name": "ann_stages"}
    )
    chart = painter.shown(prompt, "5")
    sheet = two_by_two(painter.photos[0], painter.painted(prompt, BEACH, 101, 3))
    put_arrow(sheet)
    chart = ImageOps.contain(chart, (SIZE - 2 * GAP, CELL), Image.Resampling.LANCZOS)
    sheet.paste(chart, ((SIZE - chart.width) // 2, 2 * GAP + CELL + (CELL - chart.height) // 2))
    return sheet


def with_scores(painter: Painter) -> Image.Image:
    """Eight small ones, and the two that were kept, here by eye: the recognisers know no drawn faces."""
    prompt = painter.learning()
    prompt["13"]["inputs"]["batch_size"] = 8
    eight = workflow.paint(painter.server, workflow.asking(prompt, CROWN, 107))
    drawn = [Image.fromarray(one.movedim(0, -1).mul(255).round().byte().numpy()) for one in eight]
    mosaic, side = Image.new("RGB", (CELL, CELL), PAPER), CELL // 3
    for number, one in enumerate(drawn):
        mosaic.paste(one.resize((side - 2, side - 2)), (number % 3 * side, number // 3 * side))
    sheet = two_by_two(painter.photos[0], mosaic, *(drawn[number] for number in KEPT))
    put_arrow(sheet)
    return sheet


def of_a_flow(steps: int) -> Image.Image:
    """The photo becomes a word; below, how much noise each step of the sampling has, those with the persona filled.

    Nobody has painted with such a model here, so no picture is shown.
    """
    photo = Image.open(io.BytesIO(workflow.photo_files(people()[0], "photo")["photo.png"]))
    sheet = two_by_two(photo)
    put_arrow(sheet)
    pen = ImageDraw.Draw(sheet)
    word = SIZE - GAP - CELL // 2, GAP + CELL // 2
    pen.text(word, "<ann>", INK, ImageFont.load_default(64), anchor="mm")
    highest = same_noise(Stages(), usual(), FlowSchedule()).t_hi
    left, foot, width = 2 * GAP, SIZE - 2 * GAP, (SIZE - 4 * GAP) / steps
    for step, t in enumerate(FlowSchedule(shift=3.0).spaced(steps + 1)[:-1].tolist()):
        sides = left + step * width, left + (step + 0.8) * width
        bar = sides[0], foot - t / TIMESTEPS * (CELL - GAP), sides[1], foot
        pen.rectangle(bar, INK if t <= highest else SHADE, INK, 2)
    return sheet


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, ComfyServer(Path(folder), cpu=True, packs=[NODE_PACK]) as server:
        painter = Painter(server)
        sheets = dict(with_persona(painter))
        sheets["face_wise_kv_tokens"] = with_tokens(painter)
        sheets["stages_from_attention"] = with_stages(painter)
        sheets["keep_the_likest"] = with_scores(painter)
    sheets["learn_with_z_image"], sheets["learn_with_anima"] = of_a_flow(8), of_a_flow(30)
    for name, sheet in sheets.items():
        sheet.save(graph_file(name).with_suffix(".jpg"), quality=70, optimize=True)


if __name__ == "__main__":
    main()
