"""A batch through the API: fifty prompts in the queue at once, of five personas in ten prompts each."""

import io
import json

from PIL import Image
from prompts import find, only, run_all, workflow

PEOPLE, TEXTS = range(5), [f"a photo of <ann> number {number}" for number in range(10)]
# Of the text encoder, for a prompt with a persona: the plain one, and all rows of its table at once.
WITH_PERSONA, WITHOUT = 2, 1


def prompt_of(person: int, text: str, seed: int = 0) -> dict:
    learn = {"name": f"person_{person}", "train_seed": person, "pairs": 1, "steps": 1, "augment": False}
    changes = {
        "PersonaKVTokens": learn,
        "KSampler": {"steps": 1, "seed": seed},
        "SaveImage": {"filename_prefix": f"batch/{person}"},
    }
    prompt = only(workflow("face_wise_kv_tokens", changes), "SaveImage")
    prompt["11"]["inputs"]["text"] = text
    return prompt


def files_of(server) -> dict[str, int]:
    """Of all people here, when each was written."""
    return {path.name: path.stat().st_mtime_ns for path in (server.base / "models/personas").glob("person_*")}


def finish(server, prompts: list[dict]) -> tuple[int, list[dict]]:
    """Queue prompts at once; the text encoder's passes until all are done, and what history says of each."""
    before = server.get("/encoder_passes")["count"]
    done = run_all(server, prompts)
    return server.get("/encoder_passes")["count"] - before, done


def test_nothing_is_learned_or_encoded_twice(server):
    prompts = [prompt_of(person, text) for person in PEOPLE for text in TEXTS]
    learned, done = finish(server, [prompt_of(person, TEXTS[0]) for person in PEOPLE])
    files = files_of(server)
    assert len(files) == len(PEOPLE) and learned == len(PEOPLE) * (WITH_PERSONA + WITHOUT)

    # The host keeps what a prompt has in common with the one before it.
    passes, done = finish(server, prompts)
    assert passes == len(PEOPLE) * (len(TEXTS) * WITH_PERSONA + WITHOUT)
    assert files_of(server) == files

    again, _ = finish(server, [prompt_of(PEOPLE[-1], TEXTS[-1], seed) for seed in range(1, 4)])
    assert again == 0

    pictures = [one["outputs"]["16"]["images"][0] for one in done]
    assert len({(picture["subfolder"], picture["filename"]) for picture in pictures}) == len(prompts)
    assert len({server.view(picture) for picture in pictures}) == len(prompts)


def test_each_pictures_metadata_is_the_prompt_that_made_it(server):
    prompt = prompt_of(1, TEXTS[3], seed=77)
    _, [done] = finish(server, [prompt])
    picture = Image.open(io.BytesIO(server.view(done["outputs"][find(prompt, "SaveImage")]["images"][0])))
    kept = json.loads(picture.info["prompt"])
    assert {key: node["inputs"] for key, node in kept.items()} == {key: node["inputs"] for key, node in prompt.items()}
    passes, _ = finish(server, [kept])
    assert passes == 0
