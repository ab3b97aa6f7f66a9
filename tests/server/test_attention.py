"""Persona Attention through the HTTP API of a real server with the small painter: its figure, and what a mask adds."""

import re

import numpy as np
import pytest
from prompts import pictures

from miniworld import workflow
from miniworld.measuring.subjects import subject
from persona_core.attention_figure import HEADER, TILE
from persona_core.charts import MARGIN, SIZE

WORDS = ["a", "photo", "of", "person", "in", "garden"]
TEXT = "a photo of person in garden"


def looking(mask: dict | None = None, **inputs) -> dict:
    """A prompt as it was before there were a figure and a mask, with these."""
    prompt = {
        "1": {"class_type": "MiniWorldLoader", "inputs": {}},
        "2": {"class_type": "EmptyLatentImage", "inputs": {"width": 128, "height": 128, "batch_size": 1}},
        "3": {
            "class_type": "PersonaAttention",
            "inputs": {
                "model": ["1", 0], "clip": ["1", 1], "vae": ["1", 2], "latent_image": ["2", 0], "text": TEXT,
                "negative": "", "seed": 0, "steps": 6, "cfg": 5.0, "sampler_name": "euler", "scheduler": "normal",
                **inputs,
            },
        },
        **{str(5 + output): {"class_type": "PreviewImage", "inputs": {"images": ["3", output]}} for output in range(3)},
    }  # fmt: skip
    if mask:
        prompt["4"] = mask
        prompt["3"]["inputs"]["mask"] = ["4", 0]
    return prompt


def solid(width: int, height: int, value: float = 1.0) -> dict:
    return {"class_type": "SolidMask", "inputs": {"width": width, "height": height, "value": value}}


def shown(painter, prompt: dict, texts: list | None = None) -> tuple[np.ndarray, ...]:
    """On the node, and the three outputs."""
    run = painter.run(prompt, texts)
    assert run.status == "success", run.error
    return tuple(pictures(painter, run, node)[0] for node in ("3", "5", "6", "7"))


def columns(figure: np.ndarray) -> int:
    """How many maps there are in the first row."""
    line = figure[HEADER + TILE // 2, MARGIN[0] + TILE // 2 :: TILE + 2]
    return int((line < 255).any(-1).sum())


def test_without_a_mask_all_is_as_before_and_the_figure_has_a_row_a_word(painter, texts):
    node, attention, image, figure = shown(painter, looking(), texts)
    assert (node == attention).all() and attention.shape[1] == (1 + len(WORDS)) * 160 and image.shape == (128, 128, 3)
    assert figure.shape[0] == HEADER + len(WORDS) * (TILE + 2) + 8
    assert texts == []
    assert columns(figure) == 6, "of ten timesteps, as there are six steps"
    assert columns(shown(painter, looking(timesteps=4, steps=20))[3]) == 4


def test_with_a_mask_the_node_shows_the_figure_with_curves_and_says_where_the_mask_is_covered_best(painter, texts):
    _, mask = workflow.upload(painter, subject(9, "demo"), "looked_at")
    loaded = {"class_type": "LoadImageMask", "inputs": {"image": mask, "channel": "red"}}  # 512 x 512
    before = shown(painter, looking())
    node, attention, image, figure = shown(painter, looking(loaded), texts)
    assert (attention == before[1]).all() and (image == before[2]).all() and (node == figure).all()
    assert len(figure) == len(before[3]) + SIZE[1]
    [said] = texts
    word, iou = re.fullmatch(r"'(\w+)' covers the mask best at t \d+: IoU (\d\.\d\d)\.", said).groups()
    assert word in WORDS and 0 < float(iou) <= 1


@pytest.mark.parametrize(
    "mask, says",
    [
        (solid(64, 64, 0.0), "mask is all black: Load Image gives such"),
        (solid(128, 128, 0.4), "nothing that is whiter than half and as large as 8 pixels"),
        (solid(512, 768), "mask is 512x768 pixels, but the picture is 128x128, of another shape"),
    ],
)
def test_a_mask_that_cannot_be_used_gets_a_sentence(painter, mask, says):
    run = painter.run(looking(mask))
    assert (run.status, run.error_type) == ("error", "PersonaAttention") and says in run.error


def test_a_mask_may_be_larger_or_a_few_pixels_off(painter):
    for width, height in ((512, 512), (131, 128), (16, 16)):
        shown(painter, looking(solid(width, height), steps=1))
