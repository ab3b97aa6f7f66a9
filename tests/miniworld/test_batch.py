"""A batch through the API: fifty prompts in the queue at once, of five personas in ten prompts each."""

import io
import json

import pytest
from PIL import Image
from prompts import by_small_painter, find, only, run_all, workflow

PEOPLE, TEXTS = range(5), [f"a photo of <ann> number {number}" for number in range(10)]
# Of the text encoder, for a prompt with a persona: the plain one, and all rows of its table at once.
WITH_PERSONA, WITHOUT = 2, 1


def prompt_of(person: int, text: str, seed: int = 0) -> dict:
    learn = {"pairs": 1, "steps": 1, "resolution": 32, "augment": False}
    changes = {
        "PersonaKVTokens": {"name": f"person_{person}", "train_seed": person, **learn},
        "KSampler": {"steps": 1, "seed": seed},
        "SaveImage": {"filename_prefix": f"batch/{person}"},
    }
    prompt = by_small_painter(only(workflow("face_wise_kv_tokens", changes), "SaveImage"))
    prompt["11"]["inputs"]["text"] = text
    return prompt


@pytest.fixture(scope="module", autouse=True)
def uploaded(painter, photo):
    painter.upload_image(photo, "photo.png")


def files_of(painter) -> dict[str, int]:
    """Of all people here, when each was written."""
    return {path.name: path.stat().st_mtime_ns for path in (painter.base / "models/personas").glob("person_*")}


def finish(painter, prompts: list[dict]) -> tuple[int, list[dict]]:
    """Queue prompts at once; the text encoder's passes until all are done, and what history says of each."""
    before = painter.get("/encoder_passes")["count"]
    done = run_all(painter, prompts)
    return painter.get("/encoder_passes")["count"] - before, done


def test_nothing_is_learned_or_encoded_twice(painter):
    prompts = [prompt_of(person, text) for person in PEOPLE for text in TEXTS]
    learned, done = finish(painter, [prompt_of(person, TEXTS[0]) for person in PEOPLE])
    files = files_of(painter)
    assert len(files) == len(PEOPLE) and learned == len(PEOPLE) * (WITH_PERSONA + WITHOUT)

    # The host keeps what a prompt has in common with the one before it.
    passes, done = finish(painter, prompts)
    assert passes == len(PEOPLE) * (len(TEXTS) * WITH_PERSONA + WITHOUT)
    assert files_of(painter) == files

    again, _ = finish(painter, [prompt_of(PEOPLE[-1], TEXTS[-1], seed) for seed in range(1, 4)])
    assert again == 0

    pictures = [one["outputs"]["16"]["images"][0] for one in done]
    assert len({(picture["subfolder"], picture["filename"]) for picture in pictures}) == len(prompts)
    assert len({painter.view(picture) for picture in pictures}) == len(prompts)


def test_each_pictures_metadata_is_the_prompt_that_made_it(painter):
    prompt = prompt_of(1, TEXTS[3], seed=77)
    _, [done] = finish(painter, [prompt])
    picture = Image.open(io.BytesIO(painter.view(done["outputs"][find(prompt, "SaveImage")]["images"][0])))
    kept = json.loads(picture.info["prompt"])
    assert {key: node["inputs"] for key, node in kept.items()} == {key: node["inputs"] for key, node in prompt.items()}
    passes, _ = finish(painter, [kept])
    assert passes == 0
