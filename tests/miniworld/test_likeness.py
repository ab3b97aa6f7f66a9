"""The whole pack on a real server: somebody is learned from one photo, and the pictures show them.

It fails where learning learns nothing, where the persona does not reach the sampler, and where it reaches it at the
timesteps of the plain word. All prompts are painted: in a scene of the person's own colours one persona vanishes from
every picture, and another of them, learned with another seed, from none.
"""

import pytest
import torch
from likeness import measured

from miniworld import checkpoint, workflow
from miniworld.measuring import instruments
from miniworld.measuring.subjects import subject
from persona_core.attention_figure import WordAttention
from persona_core.host.apply.attention_view import stages_in, watch
from persona_core.host.apply.encoding import apply_to_clip
from persona_core.persona import Persona
from persona_core.table import AppliedPersona

PERSON = subject(9, "demo")
# How much more alike than with the plain word; 0 is a stranger, 1 the same person drawn again. It was 0.59 (Learn
# Persona) and 0.54 (K/V tokens); on three of the prompts with the gradient cut -0.15 and 0.00, without the table 0.00
# both, with the persona where the word belongs and the other way round 0.25. (Which of five K/V pairs stands where does
# not show in likeness.)
RISE = 0.4
# The share of pictures that may lose what was asked for.
LOSS = 0.5


@pytest.fixture(scope="module", params=[workflow.PERSONA_MAGIC, workflow.KV_TOKENS])
def prompt(request, painter):
    files = workflow.upload(painter, PERSON, "someone")
    return workflow.learn_and_paint(*files, request.param, KSampler={"steps": 10})


def test_the_pictures_show_the_person_of_the_photo_as_asked(painter, prompt):
    plain, learned = (measured(painter, prompt, word, PERSON) for word in (workflow.WORD, workflow.PLACEHOLDER))
    assert learned[0] > plain[0] + RISE
    assert learned[1] >= plain[1] - LOSS


def test_only_servers_that_ask_for_it_have_the_small_painter(server, painter):
    assert "MiniWorldLoader" in painter.object_info() and "MiniWorldLoader" not in server.object_info()


def test_the_persona_looks_at_its_head_while_it_is_dynamic(painter, prompt):
    """In both papers' figures the subject's map covers the face then, and a word such as "a" does not."""
    workflow.paint(painter, prompt)  # learns, unless it was learned before
    model, clip, vae = checkpoint.load()
    persona = Persona.load(painter.base / "models/personas/ann.safetensors")
    clip = apply_to_clip(clip, AppliedPersona(persona), workflow.PLACEHOLDER)
    text = f"a photo of {workflow.PLACEHOLDER} wearing a red cap"
    with torch.inference_mode():
        painted, found = watch(
            model, clip, text, "", torch.zeros(1, 4, 16, 16), range(400, 801, 80), steps=20, cfg=5.0, sampler="euler",
            scheduler="normal", seed=0, on_step=lambda done, total: None,
        )  # fmt: skip
        [heads] = instruments.load()[0].detect(vae.decode(painted).movedim(-1, 1))
    left, top, right, bottom = (round(side / 8) for side in heads[0].box)  # in cells of the latents
    mask = torch.zeros(16, 16)
    mask[top:bottom, left:right] = 1
    maps = {word: torch.stack([one.maps[word] for one in found]) for word in found[0].maps}
    looks = WordAttention([one.t for one in found], maps, stages_in(clip, text), mask)
    iou = {word: float(values.mean()) for word, values in looks.iou.items()}
    print({word: round(value, 2) for word, value in iou.items()})
    assert iou[workflow.PLACEHOLDER] > max(iou["a"], iou["a (2)"]) + 0.2
