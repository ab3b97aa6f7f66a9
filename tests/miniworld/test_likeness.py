"""The whole pack on a real server: somebody is learned from one photo, and the pictures show them.

It fails where learning learns nothing, where the persona does not reach the sampler, and where it reaches it at the
timesteps of the plain word. All prompts are painted: in a scene of the person's own colours one persona vanishes from
every picture, and another of them, learned with another seed, from none.
"""

import pytest

from miniworld import workflow
from miniworld.measuring.asking import PROMPTS, said
from miniworld.measuring.scoring import Examiner
from miniworld.measuring.subjects import subject

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


def measured(painter, prompt: dict, word: str) -> tuple[float, float]:
    """Mean likeness, and the share of pictures that show what was asked for."""
    examiner, scores = Examiner(), []
    for text, asked in PROMPTS.items():
        pictures = workflow.paint(painter, workflow.asking(prompt, said(text, word)))
        scores.append(examiner.score(pictures, [asked], PERSON))
    likeness, obeyed = (
        sum(getattr(score, key).float().mean().item() for score in scores) / len(scores)
        for key in ("likeness", "obeyed")
    )
    print(f"{word}: likeness {likeness:.3f}, as asked {obeyed:.0%}")
    return likeness, obeyed


def test_the_pictures_show_the_person_of_the_photo_as_asked(painter, prompt):
    plain, learned = (measured(painter, prompt, word) for word in (workflow.WORD, workflow.PLACEHOLDER))
    assert learned[0] > plain[0] + RISE
    assert learned[1] >= plain[1] - LOSS


def test_only_servers_that_ask_for_it_have_the_small_painter(server, painter):
    assert "MiniWorldLoader" in painter.object_info() and "MiniWorldLoader" not in server.object_info()
